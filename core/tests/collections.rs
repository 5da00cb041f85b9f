//! Collections as an app uses them: declared indexes, queries, live answers, search.
//!
//! `RHIZOME_DOCUMENTS=n` makes the collection of the last test so large (100,000 in the long form).

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use common::{new_pod, options, second_device};
use rhizome::{
    DocumentEdit, DocumentId, Error, Index, Pod, Query, QueryDiff, QueryError, QueryRow, Schema, Search, Value, path,
};

/// Longer than anything here takes on the slowest machine.
const SOON: Duration = Duration::from_secs(120);

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A note as the model knows it.
#[derive(Debug, Clone, PartialEq)]
struct Note {
    kind: &'static str,
    date: Option<i64>,
    tags: Vec<&'static str>,
    text: String,
}

const KINDS: [&str; 3] = ["note", "task", "event"];
const TAGS: [&str; 4] = ["home", "work", "Überraschung", ""];

fn note(dice: &mut Dice) -> Note {
    let tags: BTreeSet<&str> = (0..dice.below(4)).map(|_| TAGS[dice.below(4) as usize]).collect();
    Note {
        kind: KINDS[dice.below(3) as usize],
        // Many are the same, some have none.
        date: (dice.below(8) > 0).then(|| dice.below(12) as i64 - 6),
        tags: tags.into_iter().collect(),
        text: format!("number {}", dice.below(1000)),
    }
}

fn put(document: Option<DocumentId>, note: Note) -> DocumentEdit {
    DocumentEdit {
        document,
        edit: Box::new(move |edit| {
            edit.set(&path(["kind"]), note.kind.into())?;
            match note.date {
                Some(date) => edit.set(&path(["date"]), Value::Date(date))?,
                None => edit.delete(&path(["date"]))?,
            }
            let tags = note.tags.iter().map(|tag| Value::from(*tag)).collect();
            edit.set(&path(["tags"]), Value::List(tags))?;
            edit.set_text(&path(["text"]), &note.text)
        }),
    }
}

fn schema() -> Schema {
    Schema::new()
        .index(Index::on("kind").then("date"))
        .index(Index::on("date"))
        .index(Index::each("tags").then("date"))
        .search("kind", 1)
        .search("text", 2)
}

async fn all(pod: &Pod, query: Query, page: u32) -> Vec<QueryRow> {
    let mut rows = Vec::new();
    let mut next = query.clone().limit(page);
    loop {
        let found = pod.query("notes", next).await.unwrap();
        rows.extend(found.rows);
        match found.next {
            Some(cursor) => next = query.clone().limit(page).after(cursor),
            None => return rows,
        }
    }
}

type Model = BTreeMap<DocumentId, Note>;

/// Queries, and what the model says to each: documents in order.
fn questions(model: &Model) -> Vec<(Query, Vec<DocumentId>)> {
    let mut questions = Vec::new();
    let mut ask = |query: Query, wanted: &dyn Fn(&Note) -> bool| {
        let mut rows: Vec<(i64, DocumentId)> = model
            .iter()
            .filter(|(_, note)| wanted(note))
            .filter_map(|(document, note)| Some((note.date?, *document)))
            .collect();
        rows.sort_unstable();
        let mut documents: Vec<DocumentId> = rows.iter().map(|(_, document)| *document).collect();
        questions.push((query.clone(), documents.clone()));
        documents.reverse();
        questions.push((query.descending(), documents));
    };
    ask(Query::new().sort("date"), &|_| true);
    for kind in KINDS {
        ask(Query::new().equals("kind", kind).sort("date"), &|note| {
            note.kind == kind
        });
        ask(
            Query::new()
                .equals("kind", kind)
                .range("date", Value::Date(-2)..Value::Date(3)),
            &|note| note.kind == kind && note.date.is_some_and(|date| (-2..3).contains(&date)),
        );
    }
    for tag in TAGS {
        ask(Query::new().contains("tags", tag).sort("date"), &|note| {
            note.tags.contains(&tag)
        });
        ask(
            Query::new().contains("tags", tag).range("date", Value::Float(0.5)..),
            &|note| note.tags.contains(&tag) && note.date.is_some_and(|date| date >= 1),
        );
    }
    questions
}

async fn answers_as_the_model(pod: &Pod, model: &Model) {
    for (query, wanted) in questions(model) {
        for page in [1000, 7] {
            let rows = all(pod, query.clone(), page).await;
            assert_eq!(
                rows.iter().map(|row| row.document).collect::<Vec<_>>(),
                wanted,
                "{query:?}"
            );
            for row in rows {
                assert_eq!(row.fields["kind"], model[&row.document].kind);
            }
        }
        assert_eq!(pod.count_query("notes", query).await.unwrap(), wanted.len() as u64);
    }
    assert_eq!(pod.count("notes").await.unwrap(), model.len() as u64);
    for number in 0..20 {
        let asked = format!("number {number} ");
        let found = pod.search("notes", Search::new(asked).limit(1000)).await.unwrap();
        let found: BTreeSet<DocumentId> = found.hits.iter().map(|hit| hit.document).collect();
        let wanted = model.iter().filter(|(_, note)| note.text == format!("number {number}"));
        assert_eq!(found, wanted.map(|(document, _)| *document).collect::<BTreeSet<_>>());
    }
}

async fn write_some(pod: &Pod, model: &mut Model, dice: &mut Dice, count: u64) {
    let known: Vec<DocumentId> = model.keys().copied().collect();
    let mut edits = Vec::new();
    let mut notes = Vec::new();
    for _ in 0..count {
        let new = note(dice);
        let document =
            (!known.is_empty() && dice.below(2) == 0).then(|| known[dice.below(known.len() as u64) as usize]);
        edits.push(put(document, new.clone()));
        notes.push(new);
    }
    let written = pod.write("notes", edits).await.unwrap();
    for (written, note) in written.iter().zip(notes) {
        model.insert(written.document, note);
    }
}

async fn ready(pod: &Pod) {
    let waiting = async {
        while pod.index_progress("notes").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_find_what_a_look_at_every_document_would() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let (mut model, mut dice) = (Model::new(), Dice(1));
    pod.declare("notes", schema()).await.unwrap();
    for _ in 0..4 {
        write_some(&pod, &mut model, &mut dice, 40).await;
        answers_as_the_model(&pod, &model).await;
    }
    // Declared again it is the same; with less, the rest is gone; with more, it is built of what is here.
    pod.declare("notes", schema()).await.unwrap();
    answers_as_the_model(&pod, &model).await;
    pod.declare("notes", Schema::new()).await.unwrap();
    for (query, _) in questions(&model) {
        let asked = pod.query("notes", query).await;
        assert!(matches!(asked, Err(Error::Query(QueryError::NotIndexed))), "{asked:?}");
    }
    let asked = pod.search("notes", Search::new("number")).await;
    assert!(matches!(asked, Err(Error::Query(QueryError::NotIndexed))), "{asked:?}");
    write_some(&pod, &mut model, &mut dice, 40).await;
    pod.declare("notes", schema()).await.unwrap();
    ready(&pod).await;
    answers_as_the_model(&pod, &model).await;
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_index_answers_is_refused_and_never_scanned_for() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    pod.declare("notes", schema()).await.unwrap();
    write_some(&pod, &mut Model::new(), &mut Dice(2), 10).await;
    for query in [
        Query::new(),
        Query::new().equals("kind", "note"),
        Query::new().sort("title"),
        Query::new().equals("date", 1).sort("kind"),
        Query::new().range("kind", Value::from("a")..).sort("date"),
        Query::new().contains("date", 1),
        Query::new().equals("tags", "home").sort("date"),
        Query::new().sort("tags"),
    ] {
        let asked = pod.query("notes", query.clone()).await;
        let error = asked.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            ("not-indexed", false),
            "{query:?}"
        );
        assert!(pod.count_query("notes", query.clone()).await.is_err());
        assert!(pod.watch_query("notes", query).next().await.is_err());
    }
    let invalid = [
        pod.query(
            "notes",
            Query::new().equals("kind", "x".repeat(300).as_str()).sort("date"),
        )
        .await
        .err(),
        pod.query(
            "notes",
            Query::new().equals("kind", Value::List(Vec::new())).sort("date"),
        )
        .await
        .err(),
        pod.declare("notes", Schema::new().index(Index::each("a").then("a")))
            .await
            .err(),
        pod.declare("notes", Schema::new().index(Index { fields: Vec::new() }))
            .await
            .err(),
        pod.declare("notes", Schema::new().search("a", 0)).await.err(),
        pod.declare(
            "notes",
            (0..33).fold(Schema::new(), |schema, n| schema.index(Index::on(format!("f{n}")))),
        )
        .await
        .err(),
    ];
    for error in invalid {
        assert_eq!(error.unwrap().kind(), "query");
    }
    // A cursor of one query is none of another.
    let page = pod.query("notes", Query::new().sort("date").limit(1)).await.unwrap();
    let other = Query::new()
        .equals("kind", "note")
        .sort("date")
        .after(page.next.unwrap());
    assert_eq!(pod.query("notes", other).await.unwrap_err().kind(), "query");
    // A list needs no declaration, and leaves what is declared alone.
    assert_eq!(pod.list("notes", "date", None, 3).await.unwrap().rows.len(), 3);
    assert!(
        pod.list("notes", "no such field", None, 3)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_stays_where_it_is_while_documents_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    pod.declare("notes", schema()).await.unwrap();
    let dated = |date| Note {
        kind: "note",
        date: Some(date),
        tags: Vec::new(),
        text: String::new(),
    };
    let edits = (0..30).map(|n| put(None, dated(n * 10))).collect();
    pod.write("notes", edits).await.unwrap();
    let query = Query::new().sort("date");
    let first = pod.query("notes", query.clone().limit(10)).await.unwrap();
    let cursor = first.next.unwrap();
    // Before it, after it, and the very document that it names.
    pod.write(
        "notes",
        vec![
            put(None, dated(5)),
            put(None, dated(145)),
            put(Some(first.rows[9].document), dated(500)),
        ],
    )
    .await
    .unwrap();
    let dates = |rows: &[QueryRow]| {
        rows.iter()
            .map(|row| row.fields["date"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let wanted: Vec<i64> = (10..15)
        .map(|n| n * 10)
        .chain([145])
        .chain((15..19).map(|n| n * 10))
        .collect();
    let second = pod
        .query("notes", query.clone().limit(10).after(cursor.clone()))
        .await
        .unwrap();
    assert_eq!(dates(&second.rows), wanted);
    // Through bytes, and views that were made again.
    pod.shutdown().await;
    std::fs::remove_file(dir.path().join("views.db")).unwrap();
    let pod = Pod::open(dir.path(), opts).await.unwrap();
    pod.declare("notes", schema()).await.unwrap();
    let cursor = rhizome::QueryCursor::from_bytes(&cursor.to_bytes()).unwrap();
    let second = pod.query("notes", query.limit(10).after(cursor)).await.unwrap();
    assert_eq!(dates(&second.rows), wanted);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_in_the_background_and_a_suspend_only_delays_it() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let (mut model, mut dice) = (Model::new(), Dice(3));
    write_some(&pod, &mut model, &mut dice, 1500).await;
    // Whoever counts sees all of them: they are in the views, and the index has to be built of them.
    assert_eq!(pod.count("notes").await.unwrap() as usize, model.len());
    // And nothing is left to be done in the background, which would build it at once.
    pod.suspend().await.unwrap();
    pod.resume().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut watch = pod.watch_query("notes", Query::new().sort("date").limit(5));
    pod.declare("notes", schema()).await.unwrap();
    let mut reopened = pod.clone();
    let mut seen = Vec::new();
    for round in 0..200 {
        let Some(progress) = reopened.index_progress("notes").await.unwrap() else {
            break;
        };
        assert!(progress.done < progress.total && progress.total as usize >= model.len());
        seen.push(progress.done);
        // The pod stays usable: what is written meanwhile is in the index too.
        if round % 3 == 0 {
            write_some(&reopened, &mut model, &mut dice, 2).await;
        }
        match reopened.query("notes", Query::new().sort("date")).await {
            Err(error @ Error::Query(QueryError::Building { .. })) => assert!(error.is_retryable()),
            Ok(_) => assert!(reopened.index_progress("notes").await.unwrap().is_none()),
            Err(other) => panic!("{other}"),
        }
        match round % 4 {
            1 => {
                reopened.suspend().await.unwrap();
                reopened.resume().await.unwrap();
            }
            3 => {
                reopened.shutdown().await;
                reopened = Pod::open(dir.path(), opts.clone()).await.unwrap();
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    // It went on from where it was, not from the start.
    assert!(seen.is_sorted() && seen.len() > 1, "{seen:?}");
    ready(&reopened).await;
    answers_as_the_model(&reopened, &model).await;
    if let Ok(Some(diff)) = tokio::time::timeout(SOON, watch.next()).await.expect("in time") {
        assert!(diff.placed.len() <= 5);
    }
    reopened.shutdown().await;
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_waits_for_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let (mut model, mut dice) = (Model::new(), Dice(4));
    write_some(&pod, &mut model, &mut dice, 800).await;
    pod.declare("notes", schema()).await.unwrap();
    let query = Query::new().sort("date").limit(10);
    let mut watch = pod.watch_query("notes", query.clone());
    let diff = tokio::time::timeout(SOON, watch.next())
        .await
        .expect("in time")
        .unwrap()
        .unwrap();
    let mut rows = Vec::new();
    diff.apply(&mut rows);
    assert_eq!(rows, pod.query("notes", query).await.unwrap().rows);
    pod.shutdown().await;
}

/// A watch, and what its differences made of the answer.
struct Live {
    query: Query,
    watch: rhizome::QueryWatch,
    rows: Vec<QueryRow>,
}

impl Live {
    /// Takes what there is to take; afterwards the answer is that of the query asked anew.
    async fn follow(&mut self, pod: &Pod) {
        let fresh = pod.query("notes", self.query.clone()).await.unwrap().rows;
        loop {
            // What comes late comes soon.
            let wait = if self.rows == fresh {
                Duration::from_millis(1)
            } else {
                SOON
            };
            match tokio::time::timeout(wait, self.watch.next()).await {
                Ok(diff) => self.take(diff.unwrap().unwrap()),
                Err(_) => break,
            }
        }
        assert_eq!(self.rows, fresh, "{:?}", self.query);
    }

    fn take(&mut self, diff: QueryDiff) {
        let before = self.rows.clone();
        // No more than it must: what stays as it was is not in it.
        for placed in &diff.placed {
            assert!(!before.contains(&placed.row), "{placed:?} was there already");
            let known = before.iter().find(|row| row.document == placed.row.document);
            let moved = known.map(|known| known.cursor() != placed.row.cursor());
            let wanted = match moved {
                None => rhizome::PlacedAs::Inserted,
                Some(true) => rhizome::PlacedAs::Moved,
                Some(false) => rhizome::PlacedAs::Updated,
            };
            assert_eq!(placed.placed, wanted);
        }
        for document in &diff.removed {
            assert!(before.iter().any(|row| row.document == *document));
        }
        diff.apply(&mut self.rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_always_add_up_to_a_fresh_answer() {
    let (phone_dir, tablet_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(phone_dir.path()).await;
    let (tablet, _keeper) = second_device(&phone, tablet_dir.path()).await;
    let (mut model, mut dice) = (Model::new(), Dice(5));
    for pod in [&phone, &tablet] {
        pod.declare("notes", schema()).await.unwrap();
    }
    let queries = [
        Query::new().sort("date").limit(6),
        Query::new().sort("date").descending().limit(6),
        Query::new().equals("kind", "task").sort("date").limit(1000),
        Query::new()
            .contains("tags", "work")
            .range("date", Value::Date(-3)..Value::Date(4))
            .limit(5),
    ];
    let live = |pod: &Pod| -> Vec<Live> {
        let watched = queries.iter().map(|query| Live {
            query: query.clone(),
            watch: pod.watch_query("notes", query.clone()),
            rows: Vec::new(),
        });
        watched.collect()
    };
    let (mut on_phone, mut on_tablet) = (live(&phone), live(&tablet));
    for round in 0..40 {
        let count = 1 + dice.below(5);
        // What both write at once, and what only comes with a sync.
        write_some(&phone, &mut model, &mut dice, count).await;
        write_some(&tablet, &mut model.clone(), &mut dice, count).await;
        for live in &mut on_phone {
            live.follow(&phone).await;
        }
        if round % 3 == 0 {
            tablet.sync_once(SOON, None).await.unwrap();
            for document in phone.documents("notes").await.unwrap() {
                // Whoever won: the model only needs to know what there is to edit.
                model.entry(document).or_insert_with(|| note(&mut Dice(0)));
            }
        }
        for live in &mut on_tablet {
            live.follow(&tablet).await;
        }
    }
    tablet.sync_once(SOON, None).await.unwrap();
    for (one, other) in on_phone.iter_mut().zip(&mut on_tablet) {
        one.follow(&phone).await;
        other.follow(&tablet).await;
        assert_eq!(one.rows, other.rows, "both devices have one answer");
    }
    phone.shutdown().await;
    assert_eq!(on_phone[0].watch.next().await.unwrap(), None);
    tablet.shutdown().await;
}

async fn texts(pod: &Pod, texts: &[(&str, &str)]) -> Vec<DocumentId> {
    let edits = texts.iter().enumerate().map(|(n, (title, text))| {
        let (title, text) = ((*title).to_owned(), (*text).to_owned());
        DocumentEdit {
            document: None,
            edit: Box::new(move |edit: &mut rhizome::Edit<'_>| {
                edit.set(&path(["date"]), Value::Date(n as i64))?;
                edit.set(&path(["title"]), Value::String(title.clone()))?;
                edit.set_text(&path(["text"]), &text)
            }),
        }
    });
    let written = pod.write("notes", edits.collect()).await.unwrap();
    written.iter().map(|written| written.document).collect()
}

fn titled() -> Schema {
    Schema::new()
        .index(Index::on("date"))
        .search("title", 5)
        .search("text", 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_words_in_many_languages_and_shows_where() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    pod.declare("notes", titled()).await.unwrap();
    let made = texts(
        &pod,
        &[
            ("Foxes", "The quick brown fox jumps over the lazy dog."),
            ("Dogs", "A dog, and no other animal. Its name is Fuchs. Straße."),
            ("日記", "今日は東京へ行きました。東京は大きい。"),
            ("Crème brûlée", "Dessert à la carte"),
            ("Дневник", "Ёлка и снег"),
            ("Fox", "All about it"),
        ],
    )
    .await;
    let find = async |search: Search| -> Vec<usize> {
        let page = pod.search("notes", search).await.unwrap();
        let place = |hit: &rhizome::Hit| made.iter().position(|known| *known == hit.document).unwrap();
        page.hits.iter().map(place).collect()
    };
    for (asked, wanted) in [
        ("fox", &[5, 0][..]),
        ("FOX dog", &[0]),
        ("fo*", &[5, 0]),
        ("\"lazy dog\"", &[0]),
        ("\"dog lazy\"", &[]),
        ("strasse", &[1]),
        ("creme brulee", &[3]),
        ("BRÛLÉE", &[3]),
        ("елка", &[4]),
        ("東京", &[2]),
        ("京東", &[]),
        ("日", &[2]),
        ("", &[]),
        ("…", &[]),
        ("title : fox", &[]),
    ] {
        assert_eq!(find(Search::new(asked)).await, wanted, "{asked}");
    }
    assert_eq!(find(Search::new("qui").typing()).await, [0]);
    assert!(find(Search::new("qui")).await.is_empty() && find(Search::new("qui ").typing()).await.is_empty());
    // A word in a title counts for more.
    let dogs = find(Search::new("dog*")).await;
    assert_eq!((dogs[0], dogs.len()), (1, 2));
    let within = |from: i64, until: i64| Search::new("fox").within("date", Value::Date(from)..Value::Date(until));
    assert_eq!(find(within(0, 5)).await, [0]);
    assert_eq!(find(within(1, 9)).await, [5]);
    let asked = pod.search("notes", Search::new("fox").within("title", ..)).await;
    assert_eq!(asked.unwrap_err().kind(), "not-indexed");
    // Page by page it is the same.
    let first = pod.search("notes", Search::new("fox").limit(1)).await.unwrap();
    let second = pod
        .search("notes", Search::new("fox").limit(1).after(first.next.unwrap()))
        .await
        .unwrap();
    assert_eq!((first.hits[0].document, second.hits[0].document), (made[5], made[0]));
    assert!(first.hits[0].score > second.hits[0].score);
    let hit = &pod.search("notes", Search::new("brown dog")).await.unwrap().hits[0];
    let (field, excerpt) = &hit.excerpts[0];
    assert_eq!((hit.excerpts.len(), field.names()), (1, &["text".to_owned()][..]));
    let marked: Vec<&str> = excerpt
        .ranges
        .iter()
        .map(|range| &excerpt.text[range.clone()])
        .collect();
    assert_eq!(marked, ["brown", "dog"]);
    assert!(!format!("{hit:?} {excerpt:?} {:?}", Search::new("secret")).contains("secret"));
    // What an edit takes away is not found any more, what it brings is.
    pod.edit_document("notes", made[0], |edit| edit.set_text(&path(["text"]), "A hedgehog 🦔"))
        .await
        .unwrap();
    assert_eq!(find(Search::new("fox")).await, [5]);
    assert_eq!(find(Search::new("hedgehog")).await, [0]);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_typed_is_only_words() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    pod.declare("notes", titled()).await.unwrap();
    texts(&pod, &[("one", "and or not near f0 : * ^ \" ( )")]).await;
    let mut dice = Dice(6);
    let parts = [
        "\"", "*", "^", ":", "f0", "f0:", "{", "}", "(", ")", "+", "-", "AND", "OR", "NOT", "NEAR(", ",", "2", " ",
        "'", ";", "\\", "--", "\0", "one", "日", "é", "\u{301}", "🦔", "%", "_", "rank",
    ];
    for _ in 0..600 {
        let asked: String = (0..dice.below(12))
            .map(|_| parts[dice.below(parts.len() as u64) as usize])
            .collect();
        for search in [Search::new(&asked[..]), Search::new(&asked[..]).typing()] {
            pod.search("notes", search)
                .await
                .unwrap_or_else(|error| panic!("{asked:?}: {error}"));
        }
    }
    for long in [
        "a".repeat(1 << 20),
        "a ".repeat(1 << 19),
        "\"".repeat(1 << 20),
        "日".repeat(1 << 18),
        "* ".repeat(1 << 19),
    ] {
        pod.search("notes", Search::new(long).typing()).await.unwrap();
    }
    assert_eq!(
        pod.search("notes", Search::new("AND OR NOT")).await.unwrap().hits.len(),
        1
    );
    pod.shutdown().await;
}

/// Every answer that a pod's views give.
async fn everything(pod: &Pod) -> Vec<Vec<QueryRow>> {
    let mut answers = Vec::new();
    for (query, _) in questions(&Model::new()) {
        answers.push(all(pod, query, 1000).await);
    }
    for word in ["number", "note", "num*", "\"number 7\""] {
        let page = pod.search("notes", Search::new(word).limit(1000)).await.unwrap();
        let mut found: Vec<DocumentId> = page.hits.iter().map(|hit| hit.document).collect();
        found.sort_unstable();
        let all = all(pod, Query::new().sort("date"), 1000).await;
        answers.push(
            all.into_iter()
                .filter(|row| found.binary_search(&row.document).is_ok())
                .collect(),
        );
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_views_come_back_with_their_indexes_and_search() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    pod.declare("notes", schema()).await.unwrap();
    let (mut model, mut dice) = (Model::new(), Dice(7));
    for _ in 0..8 {
        write_some(&pod, &mut model, &mut dice, 60).await;
    }
    pod.list("notes", "date", None, 1).await.unwrap();
    let before = everything(&pod).await;
    pod.shutdown().await;
    // While it is closed: any page.
    let file = dir.path().join("views.db");
    let whole = std::fs::read(&file).unwrap();
    for page in [0, whole.len() / 4096 / 2, whole.len() / 4096 - 1] {
        let mut spoilt = whole.clone();
        spoilt[page * 4096 + 2000] ^= 1;
        std::fs::write(&file, &spoilt).unwrap();
        let pod = Pod::open(dir.path(), opts.clone()).await.unwrap();
        // As apps do at every open. A page that nobody read yet may be damaged still: whoever asks meets it, and asks again.
        pod.declare("notes", schema()).await.unwrap();
        let waiting = async {
            loop {
                if pod.status().await.unwrap().unfolded == 0 && pod.index_progress("notes").await.unwrap().is_none() {
                    let asked = pod.count_query("notes", Query::new().sort("date")).await;
                    if asked.is_ok() && everything(&pod).await == before {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, waiting).await.expect("in time");
        answers_as_the_model(&pod, &model).await;
        pod.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_are_written_in_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let short = |n: i64| DocumentEdit {
        document: None,
        edit: Box::new(move |edit| edit.set(&path(["date"]), Value::Date(n))),
    };
    let written = pod.write("notes", (0..2000).map(short).collect()).await.unwrap();
    assert_eq!((written.len(), pod.status().await.unwrap().entries), (2000, 1));
    assert_eq!(pod.list("notes", "date", None, 2000).await.unwrap().rows.len(), 2000);
    // More than an entry holds goes into the next, a document edited twice too.
    let again: Vec<DocumentEdit> = (0..2)
        .map(|n| DocumentEdit {
            document: Some(written[0].document),
            edit: Box::new(move |edit| edit.set(&path(["n"]), Value::Int(n))),
        })
        .collect();
    pod.write("notes", again).await.unwrap();
    assert_eq!(pod.status().await.unwrap().entries, 3);
    pod.shutdown().await;
}

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_leave_nothing_readable_and_are_never_scanned() {
    // A build for development asserts at every query that no row was gone through which was not asked for (`store/collections.rs`).
    let count: u64 = std::env::var("RHIZOME_DOCUMENTS")
        .ok()
        .map_or(2_500, |n| n.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let schema = || {
        titled()
            .index(Index::on("title"))
            .index(Index::each("tags").then("date"))
    };
    pod.declare("notes", schema()).await.unwrap();
    let made = |n: u64| DocumentEdit {
        document: None,
        edit: Box::new(move |edit: &mut rhizome::Edit<'_>| {
            edit.set(&path(["date"]), Value::Date(n as i64))?;
            edit.set(&path(["title"]), Value::String(format!("CanaryTitle{n}")))?;
            edit.set(
                &path(["tags"]),
                Value::List(vec![Value::from(format!("canarytag{}", n % 7).as_str())]),
            )?;
            edit.set_text(&path(["text"]), &format!("canaryword CanaryText{n} of the document"))
        }),
    };
    for first in (0..count).step_by(2000) {
        let edits = (first..count.min(first + 2000)).map(made).collect();
        pod.write("notes", edits).await.unwrap();
    }
    assert_eq!(pod.count("notes").await.unwrap(), count);
    let newest = pod
        .query("notes", Query::new().sort("date").descending().limit(20))
        .await
        .unwrap();
    assert_eq!(newest.rows[0].fields["title"], format!("CanaryTitle{}", count - 1));
    let found = pod
        .query("notes", Query::new().prefix("title", "CanaryTitle99"))
        .await
        .unwrap();
    assert!(found.rows.len() >= 11);
    let tagged = pod
        .query("notes", Query::new().contains("tags", "canarytag3").sort("date"))
        .await
        .unwrap();
    assert_eq!(
        (tagged.rows.len(), tagged.rows[1].fields["date"].as_i64()),
        (100, Some(10))
    );
    let hits = pod
        .search("notes", Search::new(format!("canarytext{}", count / 2)))
        .await
        .unwrap()
        .hits;
    assert_eq!((hits.len(), hits[0].fields["date"].as_u64()), (1, Some(count / 2)));
    assert_eq!(
        pod.search("notes", Search::new("canarywo").typing())
            .await
            .unwrap()
            .hits
            .len(),
        20
    );
    // While it is open, with its write-ahead logs, and closed.
    for closed in [false, true] {
        if closed {
            pod.shutdown().await;
        }
        let mut all = Vec::new();
        files(dir.path(), &mut all);
        assert!(all.iter().any(|file| file.ends_with("views.db")));
        for file in all {
            let bytes = std::fs::read(&file).unwrap();
            let lower = bytes.to_ascii_lowercase();
            let wide: Vec<u8> = b"canary".iter().flat_map(|byte| [*byte, 0]).collect();
            for canary in [&b"canary"[..], &wide[..]] {
                let at = lower.windows(canary.len()).position(|part| part == canary);
                assert_eq!(at, None, "{} shows what a person wrote", file.display());
            }
        }
    }
}
