use super::*;
use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, Change, ExpandedChange, ObjType, ROOT, ScalarValue};
use proptest::prelude::*;

fn unsigned(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn signed(mut value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

fn framed(kind: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([0; 4]);
    out.push(kind);
    out.extend(unsigned(contents.len() as u64));
    out.extend(contents);
    out
}

/// A change with these columns and otherwise nothing unusual.
fn contents(columns: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0, 4, 1, 2, 3, 4, 1, 1, 0, 0, 0];
    out.extend(unsigned(columns.len() as u64));
    for (specification, data) in columns {
        out.extend(unsigned(u64::from(*specification)));
        out.extend(unsigned(data.len() as u64));
    }
    for (_, data) in columns {
        out.extend(data);
    }
    out
}

fn run(count: i64, value: Vec<u8>) -> Vec<u8> {
    [signed(count), value].concat()
}

/// `count` times setting a field named `name` to null.
fn sets(count: i64, name: &str) -> Vec<(u32, Vec<u8>)> {
    let name = [unsigned(name.len() as u64), name.as_bytes().to_vec()].concat();
    vec![
        (column::KEY_NAME, run(count, name)),
        (column::INSERT, unsigned(count as u64)),
        (column::ACTION, run(count, vec![1])),
        (column::VALUE_META, run(count, vec![0])),
        (column::PREDECESSOR_COUNT, run(count, vec![0])),
    ]
}

fn check(columns: &[(u32, Vec<u8>)]) -> Result<(), ChunkError> {
    check_change(&framed(CHANGE, &contents(columns)), Limits::default())
}

/// Changes of every kind that a document here makes.
fn real_changes() -> Vec<Vec<u8>> {
    let mut doc = Automerge::new().with_actor(ActorId::from([7; 32]));
    let mut other = doc.fork().with_actor(ActorId::from([3; 32]));
    let mut tx = doc.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    let list = tx.put_object(ROOT, "list", ObjType::List).unwrap();
    let map = tx.put_object(ROOT, "map", ObjType::Map).unwrap();
    tx.splice_text(&text, 0, 0, "Grüße, 😀 everyone").unwrap();
    for n in 0..40_i64 {
        tx.insert(&list, n as usize, n * n - 300).unwrap();
    }
    for (name, value) in [
        ("null", ScalarValue::Null),
        ("yes", true.into()),
        ("no", false.into()),
        ("least", i64::MIN.into()),
        ("most", i64::MAX.into()),
        ("unsigned", u64::MAX.into()),
        ("float", f64::MIN_POSITIVE.into()),
        ("string", "string".into()),
        ("", "".into()),
        ("bytes", ScalarValue::Bytes(vec![0, 1, 255])),
        ("date", ScalarValue::Timestamp(-1)),
        ("counter", ScalarValue::counter(-5)),
    ] {
        tx.put(&map, name, value).unwrap();
    }
    tx.commit();
    let mut tx = doc.transaction();
    tx.increment(&map, "counter", -7).unwrap();
    tx.delete(&list, 3).unwrap();
    tx.delete(&map, "yes").unwrap();
    tx.splice_text(&text, 2, 5, &"long ".repeat(200)).unwrap();
    tx.commit();
    let mut tx = other.transaction();
    tx.put(ROOT, "mine", 1).unwrap();
    tx.commit();
    doc.merge(&mut other).unwrap();
    let mut tx = doc.transaction();
    tx.put(ROOT, "mine", 2).unwrap();
    let inner = tx.insert_object(&list, 1, ObjType::Map).unwrap();
    tx.put(&inner, "deep", "value").unwrap();
    tx.commit();
    doc.empty_commit(Default::default());
    let mut all = Vec::new();
    for mut change in doc.get_changes(&[]) {
        all.push(change.raw_bytes().to_vec());
        all.push(change.bytes().into_owned());
    }
    all
}

#[test]
fn real_changes_pass_and_keep_their_hash() {
    let mut compressed = 0;
    for bytes in real_changes() {
        let plain = open_change(&bytes, Limits::default()).unwrap();
        compressed += usize::from(bytes[8] == COMPRESSED);
        assert_eq!(plain[8], CHANGE);
        let through = Change::from_bytes(plain.to_vec()).unwrap();
        let direct = Change::from_bytes(bytes.clone()).unwrap();
        assert_eq!(through.hash(), direct.hash());
        assert_eq!(checksum(&plain).unwrap(), &direct.hash().0[..4]);
    }
    assert!(compressed >= 2);
}

#[test]
fn only_one_whole_change() {
    let bytes = real_changes().remove(0);
    let limits = Limits::default();
    let twice = [bytes.clone(), bytes.clone()].concat();
    assert_eq!(check_change(&twice, limits), Err(ChunkError::Length));
    for end in 0..bytes.len() {
        assert!(check_change(&bytes[..end], limits).is_err());
    }
    for kind in [0, 3, 4, 255] {
        let mut other = bytes.clone();
        other[8] = kind;
        assert_eq!(check_change(&other, limits), Err(ChunkError::Kind(kind)));
    }
    let mut other = bytes.clone();
    other[0] = 0;
    assert_eq!(check_change(&other, limits), Err(ChunkError::Magic));
    let small = Limits {
        bytes: bytes.len() - 1,
        ..limits
    };
    assert_eq!(check_change(&bytes, small), Err(ChunkError::TooLarge));
}

/// The part before the columns, with no columns.
struct Head {
    dependencies: u64,
    actor: usize,
    sequence: u64,
    first: u64,
    message: Vec<u8>,
    others: Vec<usize>,
}

impl Default for Head {
    fn default() -> Self {
        Head {
            dependencies: 0,
            actor: 4,
            sequence: 1,
            first: 1,
            message: Vec::new(),
            others: Vec::new(),
        }
    }
}

fn check_head(head: Head) -> Result<(), ChunkError> {
    let mut bytes = unsigned(head.dependencies);
    bytes.extend(vec![9; head.dependencies as usize * HASH]);
    bytes.extend([unsigned(head.actor as u64), vec![1; head.actor]].concat());
    bytes.extend([unsigned(head.sequence), unsigned(head.first), signed(0)].concat());
    bytes.extend([unsigned(head.message.len() as u64), head.message].concat());
    bytes.extend(unsigned(head.others.len() as u64));
    for other in head.others {
        bytes.extend([unsigned(other as u64), vec![2; other]].concat());
    }
    bytes.push(0);
    check_change(&framed(CHANGE, &bytes), Limits::default())
}

#[test]
fn a_head_may_be_as_large_as_its_limits_and_no_larger() {
    type Change = fn(&mut Head, u64);
    let of = |change: Change, value: u64| {
        let mut head = Head::default();
        change(&mut head, value);
        check_head(head)
    };
    let edges: [(Change, u64); 6] = [
        (|head, count| head.dependencies = count, MAX_DEPENDENCIES),
        (|head, length| head.actor = length as usize, MAX_ACTOR_BYTES),
        (
            |head, length| head.message = vec![b'a'; length as usize],
            MAX_MESSAGE_BYTES,
        ),
        (|head, count| head.others = vec![4; count as usize], MAX_ACTORS),
        (|head, number| head.sequence = number, u64::from(u32::MAX) - 1),
        (
            |head, number| head.first = number,
            u64::from(u32::MAX) - 1 - Limits::default().operations,
        ),
    ];
    for (number, (change, most)) in edges.into_iter().enumerate() {
        assert_eq!(of(change, most), Ok(()), "{number}");
        assert_eq!(of(change, most + 1), Err(ChunkError::Head), "{number}");
    }
    // Neither actor may be empty, no number 0, and a message is text.
    assert_eq!(of(|head, _| head.actor = 0, 0), Err(ChunkError::Head));
    assert_eq!(of(|head, _| head.others = vec![4, 0], 0), Err(ChunkError::Head));
    assert_eq!(of(|head, _| head.sequence = 0, 0), Err(ChunkError::Head));
    assert_eq!(of(|head, _| head.first = 0, 0), Err(ChunkError::Head));
    assert_eq!(of(|head, _| head.message = vec![0xff], 0), Err(ChunkError::Head));
}

#[test]
fn what_is_exactly_as_large_as_allowed_passes() {
    let plain = framed(CHANGE, &contents(&sets(3, "field")));
    let body = contents(&sets(3, "field")).len();
    let exact = Limits {
        bytes: plain.len(),
        inflated: body,
        operations: 3,
        names: 15,
    };
    assert_eq!(check_change(&plain, exact), Ok(()));
    for (limits, error) in [
        (
            Limits {
                bytes: plain.len() - 1,
                ..exact
            },
            ChunkError::TooLarge,
        ),
        (
            Limits {
                inflated: body - 1,
                ..exact
            },
            ChunkError::TooLarge,
        ),
        (Limits { operations: 2, ..exact }, ChunkError::TooManyOperations),
        (Limits { names: 14, ..exact }, ChunkError::TooManyOperations),
    ] {
        assert_eq!(check_change(&plain, limits), Err(error), "{limits:?}");
    }
    // References count as operations do.
    let mut columns = sets(1, "field");
    columns[4].1 = run(1, vec![5]);
    columns.push((column::PREDECESSOR_ACTOR, run(5, vec![0])));
    columns.push((column::PREDECESSOR_COUNTER, run(5, signed(1))));
    let five = framed(CHANGE, &contents(&columns));
    let limits = |operations| Limits {
        operations,
        ..Limits::default()
    };
    assert_eq!(check_change(&five, limits(5)), Ok(()));
    assert_eq!(check_change(&five, limits(4)), Err(ChunkError::TooManyOperations));
}

#[test]
fn the_longest_that_is_inflated_is_read_again_as_it_is_kept() {
    let limits = Limits::default();
    let of = |length: usize| {
        let mut columns = sets(1, "field");
        columns[3].1 = run(1, unsigned((length as u64) << 4 | 6));
        columns.insert(4, (column::VALUE, vec![b'a'; length]));
        contents(&columns)
    };
    let around = of(limits.inflated).len() - limits.inflated;
    let longest = of(limits.inflated - around);
    assert_eq!(longest.len(), limits.inflated);
    assert_eq!(check_change(&framed(CHANGE, &longest), limits), Ok(()));
    let longer = of(limits.inflated - around + 1);
    assert_eq!(
        check_change(&framed(CHANGE, &longer), limits),
        Err(ChunkError::TooLarge)
    );
}

#[test]
fn what_is_inflated_has_the_frame_of_what_never_was() {
    // Lengths of one byte and of two.
    for length in 1..=100 {
        let body = contents(&sets(1, &"n".repeat(length)));
        let opened = open_change(&framed(COMPRESSED, &deflated(&body)), Limits::default())
            .unwrap()
            .into_owned();
        assert_eq!(opened, framed(CHANGE, &body));
    }
    assert!(contents(&sets(1, "n")).len() < 127 && contents(&sets(1, &"n".repeat(100))).len() > 128);
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(bytes, 9)
}

#[test]
fn a_deflate_bomb_is_refused() {
    let limits = Limits::default();
    let bomb = framed(COMPRESSED, &deflated(&vec![0; 64 << 20]));
    assert!(bomb.len() < 100_000);
    assert_eq!(check_change(&bomb, limits), Err(ChunkError::TooLarge));
    // Allowed at its length, and not from so few bytes.
    let text = |length: usize| {
        let mut columns = sets(1, "field");
        columns[3].1 = run(1, unsigned((length as u64) << 4 | 6));
        columns.insert(4, (column::VALUE, vec![b'a'; length]));
        contents(&columns)
    };
    assert_eq!(check_change(&framed(CHANGE, &text(100_000)), limits), Ok(()));
    let bomb = framed(COMPRESSED, &deflated(&text(100_000)));
    assert!(bomb.len() < 1_000);
    assert_eq!(check_change(&bomb, limits), Err(ChunkError::TooLarge));
    assert_eq!(
        check_change(&framed(COMPRESSED, &deflated(&text(10_000))), limits),
        Ok(())
    );
    // The cap is exact, whatever the growth of the buffer.
    for size in [0, 1, 1000, 1023, 1024, 1025, 5000, 65_536] {
        let block = deflated(&vec![1; size]);
        assert_eq!(inflate(&block, size).map(|out| out.len()), Ok(size));
        if size > 0 {
            assert_eq!(inflate(&block, size - 1), Err(ChunkError::TooLarge));
        }
        let trailing = [block, vec![0]].concat();
        assert_eq!(inflate(&trailing, size + 9), Err(ChunkError::Deflate));
    }
    assert_eq!(inflate(&[], 100), Err(ChunkError::Deflate));
}

#[test]
fn run_length_bombs_are_refused() {
    assert_eq!(check(&sets(1, "field")), Ok(()));
    assert_eq!(check(&sets(110_000, "field")), Ok(()));
    for count in [110_001, i64::from(u32::MAX), i64::MAX] {
        assert_eq!(check(&sets(count, "field")), Err(ChunkError::TooManyOperations));
    }
    // The longest literal run there is.
    let mut columns = sets(1, "field");
    columns[2].1 = run(i64::MIN, vec![1]);
    assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
    // Nothing, 2^64-1 times.
    columns[2].1 = [signed(0), unsigned(u64::MAX)].concat();
    assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
    // One long name, many times.
    assert_eq!(
        check(&sets(100_000, &"n".repeat(4000))),
        Err(ChunkError::TooManyOperations)
    );
    // References without end.
    let mut columns = sets(2, "field");
    columns[4].1 = run(2, unsigned(u64::MAX));
    assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
    // More entries in another column than there are operations.
    let mut columns = sets(2, "field");
    columns[1].1 = unsigned(u64::MAX);
    assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
}

#[test]
fn numbers_automerge_panics_on_are_refused() {
    let mut columns = sets(1, "field");
    columns[4].1 = run(1, vec![1]);
    columns.push((column::PREDECESSOR_ACTOR, run(1, vec![0])));
    columns.push((column::PREDECESSOR_COUNTER, run(1, signed(5))));
    assert_eq!(check(&columns), Ok(()));
    columns[6].1 = run(1, signed(1 << 32));
    assert_eq!(check(&columns), Err(ChunkError::Contents(column::PREDECESSOR_COUNTER)));
    columns[6].1 = run(1, signed(-1));
    assert!(check(&columns).is_err());
    columns[6].1 = run(1, signed(5));
    columns[5].1 = run(1, vec![1]);
    assert_eq!(check(&columns), Err(ChunkError::Contents(column::PREDECESSOR_ACTOR)));
    for (seq, first) in [(0, 1), (1, 0), (1 << 32, 1), (1, u64::from(u32::MAX) - 9)] {
        let mut bytes = vec![0, 4, 1, 2, 3, 4];
        bytes.extend(unsigned(seq));
        bytes.extend(unsigned(first));
        bytes.extend([0, 0, 0, 0]);
        let bytes = framed(CHANGE, &bytes);
        assert_eq!(check_change(&bytes, Limits::default()), Err(ChunkError::Head));
    }
}

#[test]
fn values_must_be_what_their_action_takes() {
    let with = |action: u8, kind: u64, bytes: &[u8]| {
        let mut columns = sets(1, "field");
        columns[2].1 = run(1, vec![action]);
        columns[3].1 = run(1, unsigned((bytes.len() as u64) << 4 | kind));
        columns.insert(4, (column::VALUE, bytes.to_vec()));
        check(&columns)
    };
    let bad = Err(ChunkError::Contents(column::VALUE_META));
    let (set, delete, increment) = (ACTION_SET as u8, 3, ACTION_INCREMENT as u8);
    let most = MAX_COUNTER;
    // Increments are whole numbers of either kind, within the bounds.
    assert_eq!(with(increment, 3, &unsigned(most as u64)), Ok(()));
    assert_eq!(with(increment, 3, &unsigned(most as u64 + 1)), bad);
    for kind in [4, 8] {
        let action = if kind == 4 { increment } else { set };
        for sign in [1, -1] {
            assert_eq!(with(action, kind, &signed(sign * most)), Ok(()), "{kind}");
            assert_eq!(with(action, kind, &signed(sign * (most + 1))), bad, "{kind}");
        }
    }
    for (kind, bytes) in [
        (0, vec![]),
        (1, vec![]),
        (5, vec![0; 8]),
        (6, vec![b'a']),
        (7, vec![1]),
        (8, vec![1]),
        (9, vec![1]),
    ] {
        assert_eq!(with(increment, kind, &bytes), bad, "{kind}");
        assert_eq!(with(set, kind, &bytes), Ok(()), "{kind}");
        assert_eq!(
            with(delete, kind, &bytes),
            if kind == 0 { Ok(()) } else { bad },
            "{kind}"
        );
    }
    // A value fills its bytes.
    assert_eq!(with(set, 3, &[1]), Ok(()));
    assert_eq!(with(set, 3, &[1, 1]), bad);
    // As many values as operations, and no bytes beyond them.
    let mut columns = sets(2, "field");
    columns[3].1 = run(1, vec![0]);
    assert_eq!(check(&columns), bad);
    let mut columns = sets(2, "field");
    columns.insert(4, (column::VALUE, vec![1]));
    assert_eq!(check(&columns), bad);
}

#[test]
fn positions_end_at_32_bits_and_runs_are_not_empty() {
    let mut columns = sets(1, "field");
    columns.insert(0, (column::OBJECT_ACTOR, run(1, vec![0])));
    columns.insert(1, (column::OBJECT_COUNTER, run(1, unsigned(u64::from(u32::MAX)))));
    assert_eq!(check(&columns), Ok(()));
    columns[1].1 = run(1, unsigned(u64::from(u32::MAX) + 1));
    assert_eq!(check(&columns), Err(ChunkError::Contents(column::OBJECT_COUNTER)));
    // As many names as there are operations, and then none at all.
    let mut columns = sets(1, "field");
    columns[0].1.extend([signed(0), unsigned(0)].concat());
    assert_eq!(check(&columns), Err(ChunkError::Contents(column::KEY_NAME)));
}

#[test]
fn columns_not_written_here_are_refused() {
    // With the bit that says deflated, unknown, out of order, twice.
    for bad in [0x4a, 0xb2] {
        let mut columns = sets(1, "field");
        columns.push((bad, vec![1]));
        assert_eq!(check(&columns), Err(ChunkError::Column(bad)));
    }
    let mut columns = sets(1, "field");
    columns.swap(0, 1);
    assert!(matches!(check(&columns), Err(ChunkError::Column(_))));
    let mut columns = sets(1, "field");
    let again = columns[4].clone();
    columns.push(again);
    assert!(matches!(check(&columns), Err(ChunkError::Column(_))));
    for action in [6, 7, 99] {
        let mut columns = sets(1, "field");
        columns[2].1 = run(1, vec![action]);
        assert!(check(&columns).is_err());
    }
    let extra = [contents(&sets(1, "field")), vec![1, 1, 9]].concat();
    assert_eq!(
        check_change(&framed(CHANGE, &extra), Limits::default()),
        Err(ChunkError::Length)
    );
}

/// A change that sets a mark and takes it away in part.
fn marked() -> Vec<u8> {
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, "marked").unwrap();
    let mark = automerge::marks::Mark::new("bold".into(), true, 1, 5);
    tx.mark(&text, mark, automerge::marks::ExpandMark::Both).unwrap();
    tx.unmark(&text, "bold", 2, 3, automerge::marks::ExpandMark::None)
        .unwrap();
    tx.put(ROOT, "after", 1).unwrap();
    tx.commit();
    doc.get_last_local_change().unwrap().raw_bytes().to_vec()
}

#[test]
fn marks_come_in_pairs_with_names() {
    use automerge::legacy::OpType;
    assert_eq!(check_change(&marked(), Limits::default()), Ok(()));
    assert!(has_marks(&marked()) && !real_changes().iter().any(|change| has_marks(change)));
    let short = Limits {
        names: 5,
        ..Limits::default()
    };
    assert_eq!(check_change(&marked(), short), Err(ChunkError::TooManyOperations));
    let with = |change: fn(&mut ExpandedChange)| {
        let mut expanded = ExpandedChange::from(&Change::from_bytes(marked()).unwrap());
        change(&mut expanded);
        check_change(Change::from(expanded).raw_bytes(), Limits::default())
    };
    let begin = |change: &ExpandedChange| {
        let found = change.operations.iter();
        found
            .clone()
            .position(|op| matches!(op.action, OpType::MarkBegin(_)))
            .unwrap()
    };
    assert_eq!(with(|_| {}), Ok(()));
    let bad = Err(ChunkError::Contents(column::MARK_NAME));
    // An end, or a beginning, alone; the two turned round; apart; with no name, or one that is too long.
    type Break = fn(&mut ExpandedChange, usize);
    let breaks: [Break; 8] = [
        |change, at| drop(change.operations.remove(at)),
        |change, at| drop(change.operations.remove(at + 1)),
        |change, at| change.operations.swap(at, at + 1),
        |change, at| {
            let put = change.operations.pop().unwrap();
            change.operations.insert(at + 1, put);
        },
        |change, at| match &mut change.operations[at].action {
            OpType::MarkBegin(data) => data.name = "".into(),
            _ => unreachable!(),
        },
        |change, at| match &mut change.operations[at].action {
            OpType::MarkBegin(data) => data.name = "n".repeat(MAX_MARK_NAME + 1).into(),
            _ => unreachable!(),
        },
        // In place of something, or in a map.
        |change, at| change.operations[at].insert = false,
        |change, at| change.operations[at + 1].key = automerge::legacy::Key::Map("field".into()),
    ];
    for (number, broken) in breaks.iter().enumerate() {
        let mut expanded = ExpandedChange::from(&Change::from_bytes(marked()).unwrap());
        let at = begin(&expanded);
        broken(&mut expanded, at);
        let checked = check_change(Change::from(expanded).raw_bytes(), Limits::default());
        assert_eq!(checked, bad, "{number}");
    }
    // Names and expansion of what is no mark; a counter as a value.
    let mut columns = sets(1, "field");
    columns.push((column::EXPAND, vec![0, 1]));
    assert_eq!(check(&columns), bad);
    let mut columns = sets(1, "field");
    columns.push((column::MARK_NAME, run(1, [&[4][..], b"bold"].concat())));
    assert_eq!(check(&columns), bad);
    assert_eq!(
        with(|change| {
            for operation in &mut change.operations {
                if let OpType::MarkBegin(data) = &mut operation.action {
                    data.value = ScalarValue::counter(1);
                }
            }
        }),
        Err(ChunkError::Contents(column::VALUE_META))
    );
}

#[test]
fn real_changes_with_huge_counters_are_refused() {
    for (start, step) in [(i64::MAX, 1), (1, i64::MAX), (1, i64::MIN)] {
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        tx.put(ROOT, "n", ScalarValue::counter(start)).unwrap();
        tx.commit();
        let mut tx = doc.transaction();
        tx.increment(ROOT, "n", step).unwrap();
        tx.commit();
        let refused = doc
            .get_changes(&[])
            .iter()
            .any(|change| check_change(change.raw_bytes(), Limits::default()).is_err());
        assert!(refused);
    }
}

#[test]
fn numbers_read_as_written() {
    for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(Reader(&unsigned(value)).unsigned(), Ok(value));
    }
    for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
        assert_eq!(Reader(&signed(value)).signed(), Ok(value));
    }
    // Bit 64.
    assert!(Reader(&[&[0x80; 9][..], &[2]].concat()).unsigned().is_err());
    for long in [&[0x80, 0][..], &[0xff; 11], &[0xff, 0x80]] {
        assert!(Reader(long).unsigned().is_err());
        assert!(Reader(long).signed().is_err());
    }
}

/// Automerge must not panic or grow on what passed.
fn consistent(bytes: &[u8]) {
    if let Ok(plain) = open_change(bytes, Limits::default()) {
        let change = Change::from_bytes(plain.to_vec());
        assert!(change.is_err() || change.is_ok_and(|change| change.len() as u64 <= Limits::default().operations));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        consistent(&bytes);
        consistent(&framed(CHANGE, &bytes));
        consistent(&framed(COMPRESSED, &bytes));
        consistent(&framed(COMPRESSED, &deflated(&bytes)));
    }

    #[test]
    fn any_columns(
        columns in proptest::collection::btree_map(
            0..column::ALL.len(),
            proptest::collection::vec(any::<u8>(), 0..12),
            0..12,
        )
    ) {
        let columns: Vec<_> =
            columns.into_iter().map(|(place, data)| (column::ALL[place], data)).collect();
        consistent(&framed(CHANGE, &contents(&columns)));
    }

    #[test]
    fn mutated_changes(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8),
            1..5,
        )
    ) {
        let all = real_changes();
        let mut bytes = which.get(&all).clone();
        for (place, byte, how) in edits {
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        consistent(&bytes);
        // With a length that is right again, to get past the frame.
        let mut rest = Reader(bytes.get(9..).unwrap_or_default());
        if rest.unsigned().is_ok() {
            consistent(&framed(CHANGE, rest.0));
            consistent(&framed(COMPRESSED, &deflated(rest.0)));
        }
    }
}

#[test]
fn expanded_changes_still_convert() {
    // The tests of documents make hostile changes this way.
    for bytes in real_changes() {
        let change = Change::from_bytes(bytes).unwrap();
        let again = Change::from(ExpandedChange::from(&change));
        assert_eq!(again.hash(), change.hash());
    }
}
