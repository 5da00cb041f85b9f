// The unified log, as far as `Logger.log(level:_:)` with explicit privacy goes.

import Foundation

public struct OSLogType: Equatable, Sendable {
    let name: String
    public static let debug = Self(name: "debug")
    public static let info = Self(name: "info")
    public static let `default` = Self(name: "default")
    public static let error = Self(name: "error")
    public static let fault = Self(name: "fault")
}

public struct OSLogPrivacy: Sendable {
    let isPublic: Bool
    public static var `public`: Self { Self(isPublic: true) }
    public static var `private`: Self { Self(isPublic: false) }
}

public struct OSLogMessage: ExpressibleByStringInterpolation {
    public struct StringInterpolation: StringInterpolationProtocol {
        var text = ""

        public init(literalCapacity: Int, interpolationCount: Int) {}

        public mutating func appendLiteral(_ literal: String) { text += literal }

        public mutating func appendInterpolation(_ value: @autoclosure () -> String, privacy: OSLogPrivacy) {
            text += privacy.isPublic ? value() : "<private>"
        }
    }

    let text: String

    public init(stringLiteral value: String) { text = value }

    public init(stringInterpolation: StringInterpolation) { text = stringInterpolation.text }
}

public struct Logger: Sendable {
    let subsystem: String
    let category: String

    public init(subsystem: String, category: String) {
        self.subsystem = subsystem
        self.category = category
    }

    public func log(level: OSLogType, _ message: OSLogMessage) {
        let line = Script.Line(subsystem: subsystem, category: category, level: level, text: message.text)
        Lines.shared.lock.withLock { Lines.shared.all.append(line) }
    }
}

private final class Lines: @unchecked Sendable {
    static let shared = Lines()
    let lock = NSLock()
    var all: [Script.Line] = []
}

/// What a test asks of the log.
public enum Script {
    public struct Line: Sendable {
        public let subsystem: String
        public let category: String
        public let level: OSLogType
        /// As another program would read it.
        public let text: String
    }

    public static var lines: [Line] { Lines.shared.lock.withLock { Lines.shared.all } }
}
