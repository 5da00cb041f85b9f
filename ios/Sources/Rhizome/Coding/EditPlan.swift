/// The edits that make a document what a value of the app's is now, and touch nothing else: what another device changes at the same time stays.
struct EditPlan {
    private(set) var edits: [Edit] = []

    /// - Parameters:
    ///   - document: what the document shows.
    ///   - read: what the app's type made of that, encoded again. What the type does not know is not in it, and stays.
    ///   - wanted: what it is to be.
    init(of document: Value, read: Tree, wanted: Tree) {
        guard case .map(let fields) = document, case .map(let before, _) = read, case .map(let after, _) = wanted else { return }
        change([], fields, from: before, to: after)
    }

    private mutating func change(_ path: [DocumentPath.Key], _ value: Value, from read: Tree, to wanted: Tree) {
        if read.isSame(as: wanted) { return }
        let place = DocumentPath(path)
        switch (value, read, wanted) {
        case (.map(let fields), .map(let before, _), .map(let after, let isChoice))
        where !isChoice || (before.keys == after.keys && Set(fields.keys) == Set(after.keys)):
            change(path, fields, from: before, to: after)
        case (.list(let values), .list(let before), .list(let after)):
            // A type that passes over some of what it reads says nothing of places.
            change(path, values, from: read.reads(value) ? before : nil, to: after)
        case (.list(let values), .set, .set(let after)):
            change(path, values, to: after)
        // The document says what kind of text or number it is: an app that does not ask for one kind or the other keeps what is there.
        case (.text, _, .whole(.text(let text))), (.text, _, .whole(.string(let text))):
            edits.append(.setText(place, to: text))
        case (.counter, .whole(let before), .whole(.counter(let after))), (.counter, .whole(let before), .whole(.int(let after))):
            let (by, isTooFar) = after.subtractingReportingOverflow(before.intValue ?? 0)
            edits.append(isTooFar || before.intValue == nil ? .set(place, to: .counter(after)) : .increment(place, by: by))
        default: edits.append(.set(place, to: wanted.value))
        }
    }

    /// Fields of a map.
    private mutating func change(
        _ path: [DocumentPath.Key], _ fields: [String: Value], from before: [String: Tree], to after: [String: Tree]
    ) {
        for name in before.keys.sorted() where after[name] == nil && fields[name] != nil {
            edits.append(.delete(DocumentPath(path + [.field(name)])))
        }
        for (name, wanted) in after.sorted(by: { $0.key < $1.key }) {
            let path = path + [.field(name)]
            if let value = fields[name] {
                change(path, value, from: before[name] ?? .unread(value), to: wanted)
            } else {
                edits.append(.set(DocumentPath(path), to: wanted.value))
            }
        }
    }

    /// A list without an order, each value of which is there once.
    private mutating func change(_ path: [DocumentPath.Key], _ values: [Value], to after: [Tree]) {
        let place = DocumentPath(path)
        let wanted = Set(after.map(\.value.plain))
        var there: Set<Value> = []
        var at = 0
        for value in values.map(\.plain) {
            if wanted.contains(value) {
                there.insert(value)
                at += 1
            } else {
                edits.append(.delete(DocumentPath(path + [.index(at)])))
            }
        }
        for value in after.map(\.value) where there.insert(value.plain).inserted {
            edits.append(.insert(place, at: at, value))
            at += 1
        }
    }

    /// Values in order. Nil `read` says that what was read of each is not known.
    private mutating func change(_ path: [DocumentPath.Key], _ values: [Value], from read: [Tree]?, to after: [Tree]) {
        let before = read ?? values.map(Tree.init)
        // Where the next value stands, with the edits so far; and how far the lists were gone through.
        var (at, old, new) = (0, 0, 0)
        for anchor in anchors(before, after) + [(before.count, after.count)] {
            // What is between two values that stayed was changed in place, as far as there is as much on both sides.
            while old < anchor.0 || new < anchor.1 {
                let isPair = old < anchor.0 && new < anchor.1 && before[old].isOne(with: after[new]) != false
                if isPair {
                    change(path + [.index(at)], values[old], from: read?[old] ?? .unread(values[old]), to: after[new])
                    (at, old, new) = (at + 1, old + 1, new + 1)
                } else if old < anchor.0 {
                    edits.append(.delete(DocumentPath(path + [.index(at)])))
                    old += 1
                } else {
                    edits.append(.insert(DocumentPath(path), at: at, after[new].value))
                    (at, new) = (at + 1, new + 1)
                }
            }
            if old < before.count, new < after.count {
                change(path + [.index(at)], values[old], from: read?[old] ?? .unread(values[old]), to: after[new])
                (at, old, new) = (at + 1, old + 1, new + 1)
            }
        }
    }
}

/// The most pairs of values that are compared for one list: beyond, what is between the same beginning and the same end is taken place by place.
private let mostCompared = 250_000

/// Pairs of places, in order, at which two lists have the same value, perhaps changed: a longest such row.
private func anchors(_ before: [Tree], _ after: [Tree]) -> [(Int, Int)] {
    let isOne = { (old: Int, new: Int) in before[old].isOne(with: after[new]) == true }
    let most = min(before.count, after.count)
    var front = 0
    while front < most, isOne(front, front) { front += 1 }
    var back = 0
    while back < most - front, isOne(before.count - 1 - back, after.count - 1 - back) { back += 1 }
    let (rows, columns) = (before.count - front - back, after.count - front - back)
    var found = (0..<front).map { ($0, $0) }
    if rows > 0, columns > 0, rows <= mostCompared / columns {
        // How long the longest row is from each pair of places on.
        var lengths = [Int32](repeating: 0, count: (rows + 1) * (columns + 1))
        let width = columns + 1
        for row in (0..<rows).reversed() {
            for column in (0..<columns).reversed() {
                lengths[row * width + column] =
                    isOne(front + row, front + column)
                    ? lengths[(row + 1) * width + column + 1] + 1
                    : max(lengths[(row + 1) * width + column], lengths[row * width + column + 1])
            }
        }
        var (row, column) = (0, 0)
        while row < rows, column < columns {
            if isOne(front + row, front + column) {
                found.append((front + row, front + column))
                (row, column) = (row + 1, column + 1)
            } else if lengths[(row + 1) * width + column] >= lengths[row * width + column + 1] {
                row += 1
            } else {
                column += 1
            }
        }
    }
    return found + (0..<back).reversed().map { (before.count - 1 - $0, after.count - 1 - $0) }
}
