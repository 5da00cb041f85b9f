import Foundation

/// A value as a type of the app's encodes it: a ``Value``, and what is known besides about how it changes.
indirect enum Tree {
    /// What changes as a whole: one value, or a reference to an attachment.
    case whole(Value)
    /// Values in order.
    case list([Tree])
    /// Values without an order, each once: a list in the document.
    case set([Tree])
    /// Values by name. Of a choice (an enum with values) the names are which case it is, so that two cases must never stand beside each other.
    case map([String: Tree], isChoice: Bool)

    /// A value of which nothing more is known.
    init(_ value: Value) {
        switch value {
        case .list(let values): self = .list(values.map(Tree.init))
        case .map(let fields) where !value.isAttachment: self = .map(fields.mapValues(Tree.init), isChoice: false)
        default: self = .whole(value)
        }
    }

    /// A value that no type read: nothing of it can have been taken away.
    static func unread(_ value: Value) -> Tree {
        if case .map = value, !value.isAttachment { .map([:], isChoice: false) } else { Tree(value) }
    }

    /// As the document has it.
    var value: Value {
        switch self {
        case .whole(let value): value
        case .list(let values), .set(let values): .list(values.map(\.value))
        case .map(let fields, _): .map(fields.mapValues(\.value))
        }
    }

    /// Whether it says the same.
    func isSame(as other: Tree) -> Bool {
        switch (self, other) {
        // A number that is none is not equal to itself.
        case (.whole(.float(let one)), .whole(.float(let other))): one == other || (one.isNaN && other.isNaN)
        case (.whole(let one), .whole(let other)): one == other
        case (.list(let one), .list(let other)): one.count == other.count && zip(one, other).allSatisfy { $0.isSame(as: $1) }
        case (.set(let one), .set(let other)): Set(one.map(\.value.plain)) == Set(other.map(\.value.plain))
        case (.map(let one, _), .map(let other, _)):
            one.count == other.count && one.allSatisfy { name, tree in other[name].map(tree.isSame) ?? false }
        default: false
        }
    }

    /// What tells it from others of its list: its field `id`, if it has one that is a single value.
    private var id: Value? {
        if case .map(let fields, _) = self, case .whole(let id) = fields["id"] { id.plain } else { nil }
    }

    /// Whether it is the other, perhaps changed; nil if nobody can tell.
    func isOne(with other: Tree) -> Bool? {
        if let id, let other = other.id { return id == other }
        return isSame(as: other) ? true : nil
    }

    /// Whether it is all that was read of `value`, place by place: then a place in one is the same place in the other.
    func reads(_ value: Value) -> Bool {
        switch (self, value) {
        case (.whole(let one), _): one.plain == value.plain
        case (.list(let trees), .list(let values)): trees.count == values.count && zip(trees, values).allSatisfy { $0.reads($1) }
        case (.set, .list): true
        case (.map(let trees, _), .map(let fields)): trees.allSatisfy { name, tree in fields[name].map(tree.reads) ?? false }
        default: false
        }
    }
}

extension Value {
    /// Whether it is a reference to an attachment: a map whose fields belong together.
    var isAttachment: Bool {
        if case .map(let fields) = self { fields[AttachmentReference.field] != nil } else { false }
    }

    /// Without the difference between kinds that read alike: a text and a string, a counter and a number.
    var plain: Value {
        switch self {
        case .text(let value): .string(value)
        case .counter(let value): .int(value)
        case .float(let value): Int64(exactly: value).map(Value.int) ?? self
        case .list(let values): .list(values.map(\.plain))
        case .map(let fields): .map(fields.mapValues(\.plain))
        default: self
        }
    }
}
