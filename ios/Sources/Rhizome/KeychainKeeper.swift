#if canImport(Security)
import Foundation
import Security

/// Keeps the device secret in the keychain: on this device only, in no backup, readable from the first unlock after a start on, so that
/// a background task of a locked phone can sync.
public struct KeychainKeeper: SecretKeeper {
    /// Why the keychain did not do what it was asked.
    public struct Failure: Error, CustomStringConvertible {
        /// What `Security` answered.
        public let status: Int32

        /// Safe to log.
        public var description: String { "the keychain answered \(status)" }
    }

    private let service: String
    private let accessGroup: String?

    /// A keeper of generic passwords.
    ///
    /// - Parameters:
    ///   - service: the items' `kSecAttrService`; the default holds for every pod of an app.
    ///   - accessGroup: the keychain group, for an app that shares its pod with its extensions.
    public init(service: String = "org.rhizome.device-secret", accessGroup: String? = nil) {
        self.service = service
        self.accessGroup = accessGroup
    }

    /// The secret under an id.
    public func load(id: Data) throws -> KeptSecret {
        var query = item(id)
        query[kSecReturnData] = true
        query[kSecMatchLimit] = kSecMatchLimitOne
        var found: CFTypeRef?
        let status = SecItemCopyMatching(query as CFDictionary, &found)
        switch status {
        case errSecSuccess:
            guard let secret = found as? Data else { throw Failure(status: errSecParam) }
            return .found(secret)
        case errSecItemNotFound: return .absent
        // Before the first unlock. To take it for absence would cost the person their pod.
        case errSecInteractionNotAllowed: return .locked
        default: throw Failure(status: status)
        }
    }

    /// Keeps a new secret under a new id; `SecItemAdd` answers `errSecDuplicateItem` if there is one.
    public func create(id: Data, secret: Data) throws {
        var attributes = item(id)
        attributes[kSecAttrAccessible] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
        attributes[kSecValueData] = secret
        let status = SecItemAdd(attributes as CFDictionary, nil)
        guard status == errSecSuccess else { throw Failure(status: status) }
    }

    private func item(_ id: Data) -> [CFString: Any] {
        var query: [CFString: Any] = [
            kSecClass: kSecClassGenericPassword,
            kSecAttrService: service,
            kSecAttrAccount: id.map { String(format: "%02x", $0) }.joined(),
            // On a Mac: the keychain that works as on iOS.
            kSecUseDataProtectionKeychain: true,
        ]
        query[kSecAttrAccessGroup] = accessGroup
        return query
    }
}

extension SecretKeeper where Self == KeychainKeeper {
    /// The keychain of this device.
    public static var keychain: KeychainKeeper { KeychainKeeper() }
}
#endif
