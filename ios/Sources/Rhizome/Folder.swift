import Foundation

/// Makes a pod's folder ready before the core writes its first file there.
enum Folder {
    /// Makes the folder if it is not there, keeps it out of backups, and has its files readable from the first unlock on: a background task of
    /// a locked phone reads and writes them, and new files take the protection of their folder. The cloud peer and the recovery
    /// words are the backup: a restored copy would be a second device with the same secret.
    static func prepare(_ folder: URL) throws {
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            #if canImport(Darwin)
            var folder = folder
            var values = URLResourceValues()
            values.isExcludedFromBackup = true
            try folder.setResourceValues(values)
            #endif
            #if os(iOS) || os(tvOS) || os(watchOS) || os(visionOS)
            try FileManager.default.setAttributes(
                [.protectionKey: FileProtectionType.completeUntilFirstUserAuthentication], ofItemAtPath: folder.path)
            #endif
        } catch {
            let code = (error as NSError).code
            throw RhizomeError(kind: .storage, code: "folder", reason: "the pod's folder could not be made ready (\(code))", isRetryable: true)
        }
    }
}
