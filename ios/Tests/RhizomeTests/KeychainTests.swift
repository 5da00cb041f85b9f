#if os(Linux)
import Foundation
import Security
import Testing

@testable import Rhizome

extension All {
    @Suite struct Keychain {
        let service = "test-\(UUID().uuidString)"
        let id = Data([1, 0xab])
        let secret = Data(repeating: 5, count: 32)

        @Test func a_secret_is_kept_on_this_device_alone_from_the_first_unlock_on() throws {
            let keeper = KeychainKeeper(service: service)
            #expect(try keeper.load(id: id) == .absent)
            try keeper.create(id: id, secret: secret)
            #expect(try keeper.load(id: id) == .found(secret))
            #expect(Security.Script.accessibility(service: service) == [kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly])
            #expect(try keeper.load(id: Data([2])) == .absent)
        }

        @Test func a_secret_never_takes_the_place_of_another() throws {
            let keeper = KeychainKeeper(service: service)
            try keeper.create(id: id, secret: secret)
            #expect { try keeper.create(id: id, secret: Data(repeating: 6, count: 32)) } throws: {
                ($0 as? KeychainKeeper.Failure)?.status == errSecDuplicateItem
            }
            #expect(try keeper.load(id: id) == .found(secret))
        }

        @Test func a_locked_keychain_is_not_an_empty_one_nor_is_one_that_fails() throws {
            let keeper = KeychainKeeper(service: service)
            try keeper.create(id: id, secret: secret)
            defer { Security.Script.answer(nil) }
            Security.Script.answer(errSecInteractionNotAllowed)
            #expect(try keeper.load(id: id) == .locked)
            #expect(throws: KeychainKeeper.Failure.self) { try keeper.create(id: Data([3]), secret: secret) }
            Security.Script.answer(errSecParam)
            #expect(throws: KeychainKeeper.Failure.self) { try keeper.load(id: id) }
        }

        @Test func groups_are_apart() throws {
            let (one, other) = (KeychainKeeper(service: service, accessGroup: "one"), KeychainKeeper(service: service, accessGroup: "other"))
            try one.create(id: id, secret: secret)
            #expect(try one.load(id: id) == .found(secret))
            #expect(try other.load(id: id) == .absent)
        }

        @Test func a_pod_lives_on_the_keychain() async throws {
            let scratch = Scratch()
            let keeper = KeychainKeeper(service: service)
            try await Pod.make(scratch, keeper: keeper).shutdown()
            let open = { try await Pod.open(at: scratch.path("phone"), keeper: keeper, options: loopback) }
            Security.Script.answer(errSecInteractionNotAllowed)
            let locked = await failure { _ = try await open() }
            Security.Script.answer(errSecParam)
            let failed = await failure { _ = try await open() }
            Security.Script.answer(nil)
            #expect(locked?.kind == .locked)
            #expect(failed?.code == "keeper")
            #expect(failed?.reason.contains("\(errSecParam)") == true)
            try await open().shutdown()
            Security.Script.forget(service: service)
            #expect(await failure { _ = try await open() }?.kind == .needsRecovery)
        }
    }
}
#endif
