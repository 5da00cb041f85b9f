import Foundation
internal import RhizomeCore

extension Pod {
    /// An append-only event log for one kind of data.
    public struct Stream: Sendable {
        /// An application's own event.
        public struct Event: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
            /// The application's name for its kind.
            public var kind: String
            /// Its bytes.
            public var payload: Data

            /// An event.
            public init(kind: String, payload: Data) { (self.kind, self.payload) = (kind, payload) }

            /// How large it is: what people write must not reach logs.
            public var description: String { "Event(\(payload.count) bytes)" }

            /// Shows nothing, so that `dump` does not either.
            public var customMirror: Mirror { Mirror(self, children: []) }
        }

        let handle: StreamHandle

        /// Its label.
        public var label: String { handle.label() }

        /// Appends events as one entry. On the disk when it returns.
        @discardableResult
        public func append(_ events: [Event]) async throws -> EntryRef {
            let events = events.map { AppEvent(kind: $0.kind, payload: $0.payload) }
            return EntryRef(try await cancellable { try await handle.append(events: events, cancel: $0) })
        }

        /// Every event, in the order that every device agrees on.
        public var events: [Event] {
            get async throws {
                try await cancellable { try await handle.events(cancel: $0) }.map { Event(kind: $0.kind, payload: $0.payload) }
            }
        }
    }
}
