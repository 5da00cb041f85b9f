//! Taking edits back by a new edit: undo of one device's own changes, and going back to a version.
//!
//! Both compare the document as it was before (`then`) with what it is `now`, value by value and letter by letter, by the identity that
//! Automerge gives each. Undo touches only what the changes that it takes back put there, or took away and nobody else did. What others
//! wrote since, or put in its place, stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use automerge::{
    AutomergeError, Change, Cursor, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue,
    legacy::{ElementId, Key as OpKey, ObjectId, OpId, OpType},
    marks::{ExpandMark, Mark},
    transaction::{Transactable, Transaction},
};

use super::{
    Value,
    document::guard,
    edit::put,
    marks::{Marks, mark_value},
    read::{scalar, units},
    tree::{self, At, Id, Placed, Text, Tree, author, id},
};

type Done = Result<(), AutomergeError>;
type Fields = BTreeMap<String, Placed>;

/// What is to be taken back.
#[derive(Default)]
pub(super) struct Inverse {
    /// Everything: the document is to be as it was.
    all: bool,
    /// The operations that are taken back: of each author, from which number to which.
    mine: HashMap<u128, Vec<(u64, u64)>>,
    /// What others overwrote or deleted.
    superseded: HashSet<Id>,
    /// What mine were put in place of.
    replaced: HashMap<Id, Vec<Id>>,
    /// What mine added to each counter.
    added: HashMap<Id, i64>,
    /// Which marks mine set in each text.
    my_marks: HashMap<Id, BTreeMap<String, ExpandMark>>,
    /// Which marks others set in each text meanwhile: after which element, and until after which.
    their_marks: HashMap<Id, Vec<TheirMark>>,
    /// What others put in meanwhile and mine took away: without mine it would be there.
    lost: HashMap<Id, Lost>,
    /// Those of `lost` in fields, by map and name; and those put into lists and texts.
    lost_fields: HashMap<(Id, String), Vec<Id>>,
    lost_elements: HashMap<Id, Vec<Id>>,
}

/// The name of a mark, after which element it begins, and after which it ends; none is the start of the text.
type TheirMark = (String, Option<OpId>, Option<OpId>);

/// A value that another put into the document.
struct Lost {
    object: ObjId,
    value: OpType,
}

impl Lost {
    fn tree(&self, tx: &Transaction<'_>) -> Tree {
        match &self.value {
            OpType::Make(kind) => At { doc: tx, heads: None }.tree(&self.object, *kind, 2),
            OpType::Put(value) => Tree::Scalar(scalar(value)),
            _ => Tree::Scalar(Value::Null),
        }
    }
}

impl Inverse {
    /// Everything that happened since.
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Those of `changes`, which are all since then, that are `mine`.
    pub fn of(changes: &[Change], mine: impl Fn(&Change) -> bool) -> Self {
        let mut inverse = Self::default();
        let mut theirs: Vec<Id> = Vec::new();
        let mut taken: HashSet<Id> = HashSet::new();
        // Mine first: of what others did, only that is kept which mine met.
        for is_mine in [true, false] {
            for change in changes.iter().filter(|change| mine(change) == is_mine) {
                inverse.read(change, is_mine, &mut theirs, &mut taken);
            }
        }
        // What others took away that I had put in place of something: without me they would have taken that away.
        while let Some(id) = theirs.pop() {
            if inverse.superseded.insert(id) {
                theirs.extend(inverse.replaced.get(&id).into_iter().flatten());
            }
        }
        let superseded = &inverse.superseded;
        let lists = inverse
            .lost_elements
            .values_mut()
            .chain(inverse.lost_fields.values_mut());
        lists.for_each(|list| list.retain(|id| !superseded.contains(id)));
        inverse.lost.retain(|id, _| !superseded.contains(id));
        inverse
    }

    /// Reads one change. `theirs` gathers what others took away, `taken` what mine did.
    fn read(&mut self, change: &Change, is_mine: bool, theirs: &mut Vec<Id>, taken: &mut HashSet<Id>) {
        let expanded = change.decode();
        let mut begun: Option<(String, Option<OpId>, bool)> = None;
        for (number, operation) in (expanded.start_op.get()..).zip(expanded.operations) {
            let name = OpId(number, expanded.actor_id.clone());
            let own = id_of(&name);
            let before: Vec<Id> = operation.pred.iter().map(id_of).collect();
            let object = match &operation.obj {
                ObjectId::Root => (0, 0),
                ObjectId::Id(id) => id_of(id),
            };
            if is_mine {
                match self.mine.entry(own.1).or_default().last_mut() {
                    Some((_, last)) if *last + 1 == own.0 => *last = own.0,
                    _ => self.mine.entry(own.1).or_default().push((own.0, own.0)),
                }
            }
            let element = match &operation.key {
                OpKey::Seq(ElementId::Id(id)) => Some(id.clone()),
                _ => None,
            };
            match operation.action {
                OpType::MarkBegin(data) => begun = Some((data.name.to_string(), element, data.expand)),
                OpType::MarkEnd(after) => {
                    let Some((name, from, expand)) = begun.take() else {
                        continue;
                    };
                    if is_mine {
                        let marks = self.my_marks.entry(object).or_default();
                        marks.insert(name, ExpandMark::from(expand, after));
                    } else {
                        self.their_marks.entry(object).or_default().push((name, from, element));
                    }
                }
                OpType::Increment(by) if is_mine => {
                    for counter in before {
                        let sum = self.added.entry(counter).or_default();
                        *sum = sum.saturating_add(by);
                    }
                }
                OpType::Increment(_) => {}
                action if is_mine => {
                    taken.extend(&before);
                    if !matches!(action, OpType::Delete) {
                        self.replaced.insert(own, before);
                    }
                }
                action => {
                    theirs.extend(before);
                    if !taken.contains(&own) || matches!(action, OpType::Delete) {
                        continue;
                    }
                    match operation.key {
                        OpKey::Map(field) => {
                            let place = (object, field.to_string());
                            self.lost_fields.entry(place).or_default().push(own);
                        }
                        OpKey::Seq(_) if operation.insert => self.lost_elements.entry(object).or_default().push(own),
                        OpKey::Seq(_) => {}
                    }
                    let lost = Lost {
                        object: ObjId::Id(name.0, name.1, 0),
                        value: action,
                    };
                    self.lost.insert(own, lost);
                }
            }
        }
    }

    fn is_mine(&self, id: Id) -> bool {
        self.all
            || self
                .mine
                .get(&id.1)
                .is_some_and(|ranges| ranges.iter().any(|(from, to)| (*from..=*to).contains(&id.0)))
    }

    /// Whether it is to be put back if it is gone.
    fn comes_back(&self, id: Id) -> bool {
        self.all || !self.superseded.contains(&id)
    }

    /// Takes it back in the document that `tx` edits, which was `then`.
    pub fn apply(&self, tx: &mut Transaction<'_>, then: &Fields) -> Done {
        let now = At { doc: &*tx, heads: None }.root();
        self.fields(tx, &ROOT, then, &now)
    }

    fn fields(&self, tx: &mut Transaction<'_>, object: &ObjId, then: &Fields, now: &Fields) -> Done {
        let here = id(object);
        let lost = self.lost_fields.keys().filter(|(object, _)| *object == here);
        let names: BTreeSet<&String> = then
            .keys()
            .chain(now.keys())
            .chain(lost.map(|(_, name)| name))
            .collect();
        for name in names {
            let key = || Prop::Map(name.clone());
            let lost = self.lost_fields.get(&(here, name.clone()));
            let lost = lost.and_then(|ids| ids.iter().max()).and_then(|id| self.lost.get(id));
            match (then.get(name), now.get(name)) {
                (Some(then), Some(now)) if then.id() == now.id() => self.inside(tx, object, key(), then, now)?,
                (then, Some(now)) if self.is_mine(now.id()) => {
                    let then = then.filter(|then| self.comes_back(then.id()));
                    self.instead(tx, object, key(), then, now, lost)?;
                }
                (_, Some(now)) => self.strip(tx, now)?,
                (_, None) if lost.is_some() => {
                    if let Some(lost) = lost {
                        let tree = lost.tree(tx);
                        put_tree(tx, object, key(), false, &tree)?;
                    }
                }
                (Some(then), None) if self.comes_back(then.id()) => {
                    let tree = self.revived(tx, then);
                    put_tree(tx, object, key(), false, &tree)?;
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    /// What changed inside a value that is still the same.
    fn inside(&self, tx: &mut Transaction<'_>, object: &ObjId, key: Prop, then: &Placed, now: &Placed) -> Done {
        match (&then.tree, &now.tree) {
            (Tree::Scalar(Value::Counter(then_value)), Tree::Scalar(Value::Counter(now_value))) => {
                let by = if self.all {
                    then_value.saturating_sub(*now_value)
                } else {
                    self.added.get(&then.id()).copied().unwrap_or(0).saturating_neg()
                };
                // Past the largest increment nobody else would take it.
                let most = super::chunk::MAX_COUNTER;
                match by.clamp(-most, most) {
                    0 => Ok(()),
                    by => tx.increment(object, key, by),
                }
            }
            (Tree::Map(then), Tree::Map(fields)) => self.fields(tx, &now.id, then, fields),
            (Tree::List(then), Tree::List(items)) => self.items(tx, &now.id, then, items),
            (Tree::Text(then), Tree::Text(text)) => self.text(tx, &now.id, then, text),
            _ => Ok(()),
        }
    }

    /// Takes away what is mine inside a value that is not.
    fn strip(&self, tx: &mut Transaction<'_>, now: &Placed) -> Done {
        match &now.tree {
            Tree::Scalar(_) => Ok(()),
            Tree::Map(fields) => self.fields(tx, &now.id, &Fields::new(), fields),
            Tree::List(items) => self.items(tx, &now.id, &[], items),
            Tree::Text(text) => self.text(tx, &now.id, &Text::default(), text),
        }
    }

    /// Puts `then` back in place of my value, or what others put there at the same time.
    fn instead(
        &self,
        tx: &mut Transaction<'_>,
        object: &ObjId,
        key: Prop,
        then: Option<&Placed>,
        now: &Placed,
        lost: Option<&Lost>,
    ) -> Done {
        if then.is_some_and(|then| same(&then.tree, &now.tree)) && self.all {
            return Ok(());
        }
        if !self.all {
            let all = tx.get_all(object, key.clone())?;
            let theirs = all.into_iter().rev().find(|(_, value)| !self.is_mine(id(value)));
            if let Some((value, value_id)) = theirs {
                let tree = match value {
                    automerge::Value::Object(kind) => At { doc: &*tx, heads: None }.tree(&value_id, kind, 2),
                    automerge::Value::Scalar(value) => Tree::Scalar(scalar(&value)),
                };
                return put_tree(tx, object, key, false, &tree);
            }
            if let Some(lost) = lost {
                let tree = lost.tree(tx);
                return match same(&tree, &now.tree) {
                    true => Ok(()),
                    false => put_tree(tx, object, key, false, &tree),
                };
            }
            if self.has_others(&now.tree) {
                return self.strip(tx, now);
            }
        }
        match then {
            Some(then) => {
                let tree = self.revived(tx, then);
                put_tree(tx, object, key, false, &tree)
            }
            None => tx.delete(object, key),
        }
    }

    /// Whether anything below is not mine.
    fn has_others(&self, tree: &Tree) -> bool {
        let other = |placed: &Placed| !self.is_mine(placed.id()) || self.has_others(&placed.tree);
        match tree {
            Tree::Scalar(_) => false,
            Tree::Map(fields) => fields.values().any(other),
            Tree::List(items) => items.iter().any(other),
            Tree::Text(text) => text.elements.iter().any(|element| !self.is_mine(element.id)),
        }
    }

    /// A value that is gone, as it was; or as it is by now, if others went on writing in it.
    fn revived(&self, tx: &Transaction<'_>, then: &Placed) -> Tree {
        let kind = match &then.tree {
            Tree::Scalar(_) => return then.tree.clone(),
            Tree::Map(_) => ObjType::Map,
            Tree::List(_) => ObjType::List,
            Tree::Text(_) => ObjType::Text,
        };
        if !self.all {
            let now = At { doc: tx, heads: None }.tree(&then.id, kind, 2);
            let mut known = HashSet::new();
            ids(&then.tree, &mut known);
            let mut present = HashSet::new();
            ids(&now, &mut present);
            if present.iter().any(|id| !known.contains(id) && !self.is_mine(*id)) {
                return now;
            }
        }
        then.tree.clone()
    }

    fn items(&self, tx: &mut Transaction<'_>, list: &ObjId, then: &[Placed], now: &[Placed]) -> Done {
        if self.all && then.len() == now.len() && then.iter().zip(now).all(|(a, b)| same(&a.tree, &b.tree)) {
            return Ok(());
        }
        let places: HashMap<Id, usize> = then
            .iter()
            .enumerate()
            .map(|(place, item)| (item.id(), place))
            .collect();
        // Where each of then is now; under another identity, if I wrote over it.
        let mut found: HashMap<usize, usize> = HashMap::new();
        let mut gone = Vec::new();
        let mut lost: Vec<Id> = self.lost_elements.get(&id(list)).cloned().unwrap_or_default();
        for (place, item) in now.iter().enumerate() {
            match places.get(&item.id()) {
                Some(old) => {
                    found.insert(*old, place);
                    self.inside(tx, list, Prop::Seq(place), &then[*old], item)?;
                }
                None if self.is_mine(item.id()) => match self.origin(item.id(), &places) {
                    (Some(old), theirs) => {
                        found.insert(old, place);
                        let theirs = theirs.and_then(|id| self.lost.get(&id));
                        self.instead(tx, list, Prop::Seq(place), Some(&then[old]), item, theirs)?;
                    }
                    (None, Some(theirs)) => {
                        lost.retain(|id| *id != theirs);
                        self.instead(tx, list, Prop::Seq(place), None, item, self.lost.get(&theirs))?;
                    }
                    _ if !self.all && self.has_others(&item.tree) => self.strip(tx, item)?,
                    _ => gone.push(place),
                },
                None => self.strip(tx, item)?,
            }
        }
        let mut back: BTreeMap<usize, Vec<Tree>> = BTreeMap::new();
        let mut gap = 0;
        for (place, item) in then.iter().enumerate() {
            match found.get(&place) {
                Some(now) => gap = now + 1,
                None if self.comes_back(item.id()) => back.entry(gap).or_default().push(self.revived(tx, item)),
                None => {}
            }
        }
        for lost in lost.iter().filter_map(|id| self.lost.get(id)) {
            if let Some(at) = place_of(tx, list, &lost.object) {
                back.entry(at.min(now.len())).or_default().push(lost.tree(tx));
            }
        }
        // From the end, so that places before stay as they are.
        for place in (0..=now.len()).rev() {
            if gone.binary_search(&place).is_ok() {
                tx.delete(list, place)?;
            }
            for tree in back.get(&place).into_iter().flatten().rev() {
                put_tree(tx, list, Prop::Seq(place), true, tree)?;
            }
        }
        Ok(())
    }

    /// Which of `places` mine was put in place of, if of one; and what another had put there meanwhile.
    fn origin(&self, id: Id, places: &HashMap<Id, usize>) -> (Option<usize>, Option<Id>) {
        let (mut old, mut theirs) = (None, None);
        let mut seen = HashSet::new();
        let mut next = vec![id];
        while let Some(id) = next.pop() {
            old = old.or(places.get(&id).copied());
            if self.lost.contains_key(&id) {
                theirs = theirs.max(Some(id));
            }
            if seen.insert(id) {
                next.extend(self.replaced.get(&id).into_iter().flatten());
            }
        }
        (old, theirs)
    }

    fn text(&self, tx: &mut Transaction<'_>, text: &ObjId, then: &Text, now: &Text) -> Done {
        let old: HashMap<Id, usize> = then.elements.iter().enumerate().map(|(at, e)| (e.id, at)).collect();
        let new: HashMap<Id, usize> = now.elements.iter().enumerate().map(|(at, e)| (e.id, at)).collect();
        if self.all && then.spans == now.spans {
            return Ok(());
        }
        self.marks(tx, text, then, now, &old)?;
        let then_marks = then.marks();
        let (then_places, now_places) = (then.places(), now.places());
        let mut back: BTreeMap<usize, Vec<(String, Option<&Marks>)>> = BTreeMap::new();
        let mut gap = 0;
        let mut before = None;
        for (place, element) in then.elements.iter().enumerate() {
            match new.get(&element.id) {
                Some(now) => gap = now + 1,
                None if self.comes_back(element.id) => {
                    let marks = then_marks.get(then_places[place]).copied();
                    let runs = back.entry(gap).or_default();
                    match runs.last_mut() {
                        Some((letters, of)) if before == Some(place) && *of == marks => letters.push(element.character),
                        _ => runs.push((element.character.to_string(), marks)),
                    }
                    before = Some(place + 1);
                }
                None => {}
            }
        }
        for id in self.lost_elements.get(&id(text)).into_iter().flatten() {
            let Some(lost) = self.lost.get(id) else { continue };
            let Some(at) = place_of(tx, text, &lost.object) else {
                continue;
            };
            if let OpType::Put(ScalarValue::Str(letters)) = &lost.value {
                let gap = now_places.partition_point(|place| *place < at).min(now.elements.len());
                back.entry(gap).or_default().push((letters.to_string(), None));
            }
        }
        // From the end, so that places before stay as they are.
        let mut end = now.elements.len();
        loop {
            // What was there before the element at `end`, or at the end of the text.
            for (letters, marks) in back.get(&end).into_iter().flatten().rev() {
                let at = now_places[end];
                tx.splice_text(text, at, 0, letters)?;
                if let Some(marks) = marks {
                    mark_as(tx, text, at, units(letters), marks)?;
                }
            }
            // Mine before it, as many as stand together with nothing to be put between.
            let mut from = end;
            while from > 0 && (from == end || !back.contains_key(&from)) && {
                let element = &now.elements[from - 1];
                self.is_mine(element.id) && !old.contains_key(&element.id)
            } {
                from -= 1;
            }
            if from < end {
                let (at, to) = (now_places[from], now_places[end]);
                tx.splice_text(text, at, isize::try_from(to - at).unwrap_or(0), "")?;
                end = from;
            } else if end == 0 {
                return Ok(());
            } else {
                end -= 1;
            }
        }
    }

    /// Sets the marks of what is still there as they were.
    fn marks(&self, tx: &mut Transaction<'_>, text: &ObjId, then: &Text, now: &Text, old: &HashMap<Id, usize>) -> Done {
        let object = id(text);
        let set: BTreeMap<String, ExpandMark> = if self.all {
            let names = then.spans.iter().chain(&now.spans).flat_map(|span| span.marks.keys());
            names.map(|name| (name.clone(), ExpandMark::After)).collect()
        } else {
            self.my_marks.get(&object).cloned().unwrap_or_default()
        };
        if set.is_empty() {
            return Ok(());
        }
        let theirs = self.theirs(tx, text);
        let (then_marks, now_marks) = (then.marks(), now.marks());
        let (then_places, now_places) = (then.places(), now.places());
        for (name, expand) in set {
            // Where it differs, and what it was.
            let mut wanted: Vec<(usize, usize, Option<&Value>)> = Vec::new();
            for (at, element) in now.elements.iter().enumerate() {
                let Some(old) = old.get(&element.id) else { continue };
                let (from, to) = (now_places[at], now_places[at + 1]);
                let was = then_marks.get(then_places[*old]).and_then(|marks| marks.get(&name));
                let is = now_marks.get(from).and_then(|marks| marks.get(&name));
                let taken = theirs
                    .iter()
                    .any(|(theirs, start, end)| *theirs == name && (*start..*end).contains(&from));
                if was == is || taken {
                    continue;
                }
                match wanted.last_mut() {
                    Some((_, end, value)) if *end == from && *value == was => *end = to,
                    _ => wanted.push((from, to, was)),
                }
            }
            for (from, to, value) in wanted {
                let value = value.and_then(mark_value).unwrap_or(ScalarValue::Null);
                tx.mark(text, Mark::new(name.clone(), value, from, to), expand)?;
            }
        }
        Ok(())
    }

    /// Which places of the text others set marks of meanwhile.
    fn theirs(&self, tx: &Transaction<'_>, text: &ObjId) -> Vec<(String, usize, usize)> {
        let marks = self.their_marks.get(&id(text)).map(Vec::as_slice).unwrap_or_default();
        let place = |element: &Option<OpId>, unknown: usize| {
            let Some(element) = element else { return 0 };
            let object = ObjId::Id(element.0, element.1.clone(), 0);
            let Some(at) = place_of(tx, text, &object) else {
                return unknown;
            };
            match tx.get(text, at) {
                Ok(Some((value, there))) if there == object => {
                    at + tree::element(&value, id(&there)).map_or(1, |element| element.width)
                }
                _ => at,
            }
        };
        // What cannot be placed counts as everywhere: it stays.
        marks
            .iter()
            .map(|(name, from, to)| (name.clone(), place(from, 0), place(to, usize::MAX)))
            .collect()
    }
}

/// Sets the marks of what was just put in, which may have got some from its neighbours.
fn mark_as(tx: &mut Transaction<'_>, text: &ObjId, at: usize, length: usize, marks: &Marks) -> Done {
    let has: BTreeMap<String, ScalarValue> = tx
        .get_marks(text, at, None)?
        .iter()
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    for name in has.keys().filter(|name| !marks.contains_key(*name)) {
        tx.mark(
            text,
            Mark::new(name.clone(), ScalarValue::Null, at, at + length),
            ExpandMark::None,
        )?;
    }
    for (name, value) in marks {
        let Some(value) = mark_value(value) else { continue };
        if has.get(name) != Some(&value) {
            tx.mark(text, Mark::new(name.clone(), value, at, at + length), ExpandMark::After)?;
        }
    }
    Ok(())
}

fn id_of(operation: &OpId) -> Id {
    (operation.0, author(&operation.1))
}

/// Where an element is, or was before it went, in a list or text as it is now.
fn place_of(tx: &Transaction<'_>, sequence: &ObjId, element: &ObjId) -> Option<usize> {
    let ObjId::Id(number, actor, _) = element else {
        return None;
    };
    let cursor = Cursor::try_from(format!("{number}@{actor}").as_str()).ok()?;
    let found = guard(|| tx.get_cursor_position(sequence, &cursor, None).ok()).flatten();
    // A build of Automerge that checks itself panics for what was last and is gone.
    Some(found.unwrap_or_else(|| tx.length(sequence)))
}

/// Whether two values show the same.
fn same(a: &Tree, b: &Tree) -> bool {
    match (a, b) {
        (Tree::Scalar(a), Tree::Scalar(b)) => a == b,
        (Tree::Map(a), Tree::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((x, a), (y, b))| x == y && same(&a.tree, &b.tree))
        }
        (Tree::List(a), Tree::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.tree, &b.tree)),
        (Tree::Text(a), Tree::Text(b)) => a.spans == b.spans,
        _ => false,
    }
}

/// The identities of everything in a value.
fn ids(tree: &Tree, into: &mut HashSet<Id>) {
    let mut add = |placed: &Placed| {
        into.insert(placed.id());
        ids(&placed.tree, into);
    };
    match tree {
        Tree::Scalar(_) => {}
        Tree::Map(fields) => fields.values().for_each(&mut add),
        Tree::List(items) => items.iter().for_each(&mut add),
        Tree::Text(text) => into.extend(text.elements.iter().map(|element| element.id)),
    }
}

/// Writes a value with everything below it, marks among it.
fn put_tree(tx: &mut Transaction<'_>, parent: &ObjId, at: Prop, insert: bool, tree: &Tree) -> Done {
    let object = |tx: &mut Transaction<'_>, kind| match &at {
        Prop::Seq(index) if insert => tx.insert_object(parent, *index, kind),
        _ => tx.put_object(parent, at.clone(), kind),
    };
    match tree {
        Tree::Scalar(value) => put(tx, parent, at, insert, value),
        Tree::Map(fields) => {
            let made = object(tx, ObjType::Map)?;
            fields
                .iter()
                .try_for_each(|(name, placed)| put_tree(tx, &made, Prop::Map(name.clone()), false, &placed.tree))
        }
        Tree::List(items) => {
            let made = object(tx, ObjType::List)?;
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, placed)| put_tree(tx, &made, Prop::Seq(index), true, &placed.tree))
        }
        Tree::Text(text) => {
            let made = object(tx, ObjType::Text)?;
            let letters: String = text.spans.iter().map(|span| span.text.as_str()).collect();
            if letters.is_empty() {
                return Ok(());
            }
            tx.splice_text(&made, 0, 0, &letters)?;
            let mut at = 0;
            for span in &text.spans {
                let length = units(&span.text);
                for (name, value) in &span.marks {
                    let Some(value) = mark_value(value) else { continue };
                    tx.mark(
                        &made,
                        Mark::new(name.clone(), value, at, at + length),
                        ExpandMark::After,
                    )?;
                }
                at += length;
            }
            Ok(())
        }
    }
}
