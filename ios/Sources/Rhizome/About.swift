internal import RhizomeCore

/// What the library is made of, for bug reports.
public struct About: Sendable, Hashable {
    /// Its version.
    public let version: String
    /// The source id of the SQLite that is in it, which no other SQLite of the app's can reach, nor it theirs.
    public let sqlite: String

    /// What the library in this app is made of.
    public static var library: About {
        get throws {
            let about = try mapped { try RhizomeCore.about() }
            return About(version: about.version, sqlite: about.sqlite)
        }
    }
}
