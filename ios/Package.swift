// swift-tools-version: 6.0
// The package as it is developed. The one that apps name is made from it by `make ios`: see ios/tools/release.

import PackageDescription

// The folder of a library for this machine (`make swift` says which): tests run against it. Without one, the package holds the XCFramework
// that `make ios` made, for an app on a phone or in the simulator.
let library = Context.environment["RHIZOME_LIBRARY"]

#if os(Linux)
// Apple's frameworks, as far as they are used, for tests where there are none.
let apple = ["BackgroundTasks", "Network", "Security", "UIKit", "os"]
#else
let apple: [String] = []
#endif

let core: Target =
    library == nil
    ? .binaryTarget(name: "RhizomeFFI", path: "Generated/RhizomeFFI.xcframework")
    : .systemLibrary(name: "RhizomeFFI", path: "Generated/RhizomeFFI")

let package = Package(
    name: "Rhizome",
    platforms: [.iOS("17.5"), .macOS(.v14)],
    products: [.library(name: "Rhizome", targets: ["Rhizome"])],
    targets: [
        core,
        // Made by uniffi: see uniffi.toml. Nobody imports it but Rhizome.
        .target(
            name: "RhizomeCore",
            dependencies: ["RhizomeFFI"],
            path: "Generated/RhizomeCore",
            linkerSettings: library.map { [.unsafeFlags(["-L", $0, "-Xlinker", "-rpath", "-Xlinker", $0]), .linkedLibrary("rhizome_ffi")] } ?? [
                .linkedFramework("SystemConfiguration"), .linkedFramework("Security"), .linkedFramework("Network"),
            ]
        ),
        .target(
            name: "Rhizome",
            dependencies: ["RhizomeCore"] + apple.map { .target(name: $0) },
            resources: [.copy("Resources/PrivacyInfo.xcprivacy")]
        ),
        .testTarget(name: "RhizomeTests", dependencies: ["Rhizome", "RhizomeCore"] + apple.map { .target(name: $0) }),
    ] + apple.map { .target(name: $0, path: "Tests/Apple/\($0)") },
    swiftLanguageModes: [.v6]
)
