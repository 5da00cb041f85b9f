/// A step of a coding path.
struct Step: CodingKey {
    let stringValue: String
    let intValue: Int?

    init(stringValue: String) { (self.stringValue, intValue) = (stringValue, nil) }
    init(intValue: Int) { (stringValue, self.intValue) = ("[\(intValue)]", intValue) }

    /// A key of a dictionary: a person may have written it, and paths stand in errors.
    static let hidden = Step(stringValue: "*")
    /// What a subclass keeps of the class above it.
    static let parent = Step(stringValue: "super")
}

/// A dictionary, whose keys are data.
protocol Keyed {}
extension Dictionary: Keyed {}

/// A set, whose values have no order.
protocol Unordered {}
extension Set: Unordered {}

/// A path into a value that is being encoded or decoded.
struct CodingPlace {
    private(set) var path: [any CodingKey] = []
    /// Whether what stands here is a dictionary.
    var isDictionary = false

    /// The place below, which is not a dictionary as far as is known.
    func at(_ key: some CodingKey) -> CodingPlace {
        let step: any CodingKey = isDictionary ? Step.hidden : key
        return CodingPlace(path: path + [step])
    }
}
