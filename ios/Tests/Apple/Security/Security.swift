// Security's keychain items, as far as generic passwords go. The names are Apple's, so their first letters are too.

import Foundation

public typealias CFString = String
public typealias CFDictionary = [CFString: Any]
public typealias CFTypeRef = Any
public typealias OSStatus = Int32

public let kSecClass: CFString = "class"
public let kSecClassGenericPassword: CFString = "genp"
public let kSecAttrService: CFString = "svce"
public let kSecAttrAccount: CFString = "acct"
public let kSecAttrAccessGroup: CFString = "agrp"
public let kSecAttrAccessible: CFString = "pdmn"
public let kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly: CFString = "cku"
public let kSecUseDataProtectionKeychain: CFString = "nleg"
public let kSecValueData: CFString = "v_Data"
public let kSecReturnData: CFString = "r_Data"
public let kSecMatchLimit: CFString = "m_Limit"
public let kSecMatchLimitOne: CFString = "m_LimitOne"

public let errSecSuccess: OSStatus = 0
public let errSecParam: OSStatus = -50
public let errSecItemNotFound: OSStatus = -25300
public let errSecDuplicateItem: OSStatus = -25299
public let errSecInteractionNotAllowed: OSStatus = -25308

private struct Item {
    let service: String
    let account: String
    let group: String?
    let accessible: String
    let data: Data
}

private final class Keychain: @unchecked Sendable {
    static let shared = Keychain()
    let lock = NSLock()
    var items: [Item] = []
    var answer: OSStatus?

    func find(_ query: CFDictionary) -> Item? {
        items.first { item in
            item.service == query[kSecAttrService] as? String && item.account == query[kSecAttrAccount] as? String
                && (query[kSecAttrAccessGroup] == nil || item.group == query[kSecAttrAccessGroup] as? String)
        }
    }
}

public func SecItemCopyMatching(_ query: CFDictionary, _ result: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    let keychain = Keychain.shared
    return keychain.lock.withLock {
        if let answer = keychain.answer { return answer }
        guard query[kSecClass] as? String == kSecClassGenericPassword else { return errSecParam }
        guard let item = keychain.find(query) else { return errSecItemNotFound }
        if query[kSecReturnData] as? Bool == true { result?.pointee = item.data }
        return errSecSuccess
    }
}

public func SecItemAdd(_ attributes: CFDictionary, _ result: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    let keychain = Keychain.shared
    return keychain.lock.withLock {
        if let answer = keychain.answer { return answer }
        guard attributes[kSecClass] as? String == kSecClassGenericPassword,
            let service = attributes[kSecAttrService] as? String,
            let account = attributes[kSecAttrAccount] as? String,
            let data = attributes[kSecValueData] as? Data
        else { return errSecParam }
        guard keychain.find(attributes) == nil else { return errSecDuplicateItem }
        keychain.items.append(
            Item(
                service: service,
                account: account,
                group: attributes[kSecAttrAccessGroup] as? String,
                accessible: attributes[kSecAttrAccessible] as? String ?? "",
                data: data
            ))
        return errSecSuccess
    }
}

/// What a test says to the keychain, and asks of it.
public enum Script {
    /// Every call answers this from now on; `nil`: what it should.
    public static func answer(_ status: OSStatus?) {
        Keychain.shared.lock.withLock { Keychain.shared.answer = status }
    }

    /// The accessibility of each item of a service.
    public static func accessibility(service: String) -> [String] {
        Keychain.shared.lock.withLock { Keychain.shared.items.filter { $0.service == service }.map(\.accessible) }
    }

    /// Takes every item of a service away, as an erased keychain would.
    public static func forget(service: String) {
        Keychain.shared.lock.withLock { Keychain.shared.items.removeAll { $0.service == service } }
    }
}
