//! Compiles the amalgamation of SQLite3 Multiple Ciphers with the options that rusqlite's bindings expect.
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where SQLite has put the cells of a page together anew, and says that the rest of it is free.
const REBUILT: &str = "
  put2byte(&aData[hdr+1], 0);
  put2byte(&aData[hdr+3], pPg->nCell);
  put2byte(&aData[hdr+5], pData - aData);
  aData[hdr+7] = 0x00;
  return SQLITE_OK;
";

/// With `secure_delete` SQLite overwrites what it frees, except here: what it moved away from a page that it rebuilds stays in the page's free
/// room, in the file. Erasing needs that room empty too: see `nothing_stays_in_the_free_room_of_pages` in the core's tests.
const WIPE: &str = "
  if( pPg->pBt->btsFlags & BTS_FAST_SECURE ) memset(pCellptr, 0, pData - pCellptr);
";

/// A copy of the amalgamation that leaves nothing behind in the free room of a page.
fn without_residue(source: &Path) -> PathBuf {
    let text = fs::read_to_string(source).expect("the amalgamation is text");
    let places = text.matches(REBUILT).count();
    assert_eq!(
        places, 1,
        "this SQLite rebuilds its pages in another way: see {REBUILT}"
    );
    let patched = text.replace(REBUILT, &[WIPE, REBUILT].concat());
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let copy = Path::new(&out).join("sqlite3mc_without_residue.c");
    fs::write(&copy, patched).expect("OUT_DIR can be written");
    copy
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let dir = sqlite3mc_src::source_dir();
    let mut cc = cc::Build::new();
    cc.file(without_residue(&dir.join(sqlite3mc_src::SOURCE_FILE)))
        .include(dir)
        .warnings(false)
        .define("SQLITE_CORE", None)
        .define("SQLITE_DEFAULT_FOREIGN_KEYS", "1")
        .define("SQLITE_ENABLE_FTS5", None)
        // Nothing here asks for them, and a phone loads them: no R*-trees, statistics or names of columns' tables either.
        .define("SQLITE_OMIT_AUTHORIZATION", None)
        .define("SQLITE_OMIT_COMPLETE", None)
        .define("SQLITE_OMIT_COMPILEOPTION_DIAGS", None)
        .define("SQLITE_OMIT_DATETIME_FUNCS", None)
        .define("SQLITE_OMIT_DEPRECATED", None)
        .define("SQLITE_OMIT_DESERIALIZE", None)
        .define("SQLITE_OMIT_GET_TABLE", None)
        .define("SQLITE_OMIT_JSON", None)
        .define("SQLITE_OMIT_SHARED_CACHE", None)
        .define("SQLITE_OMIT_TRACE", None)
        .define("SQLITE_OMIT_UTF16", None)
        .define("SQLITE_UNTESTABLE", None)
        .define("SQLITE_THREADSAFE", "1")
        // Off unless asked for: a path must not be able to name a cipher or key.
        .define("SQLITE_USE_URI", "0")
        .define("SQLITE_OMIT_LOAD_EXTENSION", None)
        .define("HAVE_ISNAN", None)
        // Temporary tables, sorters and statement journals never reach the disk.
        .define("SQLITE_TEMP_STORE", "3")
        // Nobody asks how much memory it uses; counting takes a lock for each allocation.
        .define("SQLITE_DEFAULT_MEMSTATUS", "0")
        // Lets `PRAGMA memory_security=FILL` zero what SQLite frees.
        .define("SQLITE3MC_SECURE_MEMORY", "1")
        // One cipher, the one that is used.
        .define("CODEC_TYPE", "CODEC_TYPE_CHACHA20")
        .define("HAVE_CIPHER_AES_128_CBC", "0")
        .define("HAVE_CIPHER_AES_256_CBC", "0")
        .define("HAVE_CIPHER_SQLCIPHER", "0")
        .define("HAVE_CIPHER_RC4", "0")
        .define("HAVE_CIPHER_ASCON128", "0")
        .define("HAVE_CIPHER_AEGIS", "0");
    if env::var("CARGO_CFG_WINDOWS").is_err() {
        cc.define("HAVE_USLEEP", "1")
            // What is synced is the data and the length, not when the file was written last. Apple's systems take their own way in SQLite.
            .define("HAVE_FDATASYNC", "1")
            .define("HAVE_LOCALTIME_R", None)
            .define("_POSIX_THREAD_SAFE_FUNCTIONS", None);
    }
    // `+whole-archive` by hand: link order against libsqlite3-sys no longer matters.
    cc.cargo_metadata(false).compile("rhizome_sqlite3mc");
    println!(
        "cargo:rustc-link-search=native={}",
        env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts")
    );
    println!("cargo:rustc-link-lib=static:+whole-archive=rhizome_sqlite3mc");
}
