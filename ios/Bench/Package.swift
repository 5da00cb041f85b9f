// swift-tools-version: 6.0
// What `make bench` measures of the Swift binding: not a part of the package that apps name.

import PackageDescription

let package = Package(
    name: "RhizomeBench",
    platforms: [.macOS(.v14)],
    dependencies: [.package(name: "Rhizome", path: "..")],
    targets: [.executableTarget(name: "bench-swift", dependencies: [.product(name: "Rhizome", package: "Rhizome")], path: "Sources")],
    swiftLanguageModes: [.v6]
)
