import Foundation
internal import RhizomeCore

#if canImport(os)
import os
#endif

/// What the library says of its work. It never holds what a person wrote, nor keys.
public struct LogLine: Sendable {
    /// How much it matters.
    public let level: Logging.Level
    /// The part of the library.
    public let target: String
    /// The text, safe to show to anyone.
    public let message: String
    /// When.
    public let time: Date
}

/// Where the library's log lines go. They come in batches from a thread of the library's; when a sink is slower than they come, some are dropped.
public enum Logging {
    /// How much a line matters.
    public enum Level: Int, Sendable, Comparable, CaseIterable {
        /// Something failed that should not.
        case error
        /// Something is wrong, and was dealt with.
        case warning
        /// What happened, in few lines.
        case info
        /// What a developer asks for.
        case debug
        /// Everything.
        case trace

        /// An error is less than everything.
        public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// Lines up to `level` are made at all; `nil`: none. It can be changed at any time.
    public static func setLevel(_ level: Level?) {
        setLogLevel(level: Level.core(level))
    }

    /// Sends the lines to a closure, instead of to whoever got them before.
    public static func send(to sink: @escaping @Sendable ([LogLine]) -> Void) {
        setLogSink(sink: ForeignSink(sink))
    }

    /// Sends the lines to nobody.
    public static func stop() {
        setLogSink(sink: nil)
    }

    #if canImport(os)
    /// Sends the lines to the system's unified log.
    ///
    /// - Parameter subsystem: usually the app's bundle identifier; the category is the part of the library.
    public static func sendToSystemLog(subsystem: String) {
        send { lines in
            for line in lines {
                // Nothing in a line is the person's: see docs/threats.md.
                Logger(subsystem: subsystem, category: line.target).log(level: line.level.system, "\(line.message, privacy: .public)")
            }
        }
    }
    #endif
}

extension Logging.Level {
    fileprivate static func core(_ level: Self?) -> LogLevel {
        switch level {
        case nil: .off
        case .error: .error
        case .warning: .warn
        case .info: .info
        case .debug: .debug
        case .trace: .trace
        }
    }

    fileprivate init(_ level: LogLevel) {
        switch level {
        // No line is of this level: it is the one of making none.
        case .off, .error: self = .error
        case .warn: self = .warning
        case .info: self = .info
        case .debug: self = .debug
        case .trace: self = .trace
        }
    }
}

/// A sink as the core calls it.
private final class ForeignSink: LogSink {
    private let sink: @Sendable ([LogLine]) -> Void

    init(_ sink: @escaping @Sendable ([LogLine]) -> Void) { self.sink = sink }

    func log(records: [LogRecord]) throws {
        sink(
            records.map {
                LogLine(level: Logging.Level($0.level), target: $0.target, message: $0.message, time: Date(millis: $0.millis))
            })
    }
}

#if canImport(os)
extension Logging.Level {
    fileprivate var system: OSLogType {
        switch self {
        case .error: .error
        case .warning: .default
        case .info: .info
        case .debug, .trace: .debug
        }
    }
}
#endif

/// What the Swift side itself has to say, which is little and holds nothing of the person's.
func systemLog(_ message: String) {
    #if canImport(os)
    Logger(subsystem: "org.rhizome", category: "swift").log(level: .default, "\(message, privacy: .public)")
    #endif
}
