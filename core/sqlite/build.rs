//! Compiles the amalgamation of SQLite3 Multiple Ciphers with the options that rusqlite's bindings expect.
use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let dir = sqlite3mc_src::source_dir();
    let mut cc = cc::Build::new();
    cc.file(dir.join(sqlite3mc_src::SOURCE_FILE))
        .include(dir)
        .warnings(false)
        // What libsqlite3-sys' own `bundled` build turns on (bindings expect it).
        .define("SQLITE_CORE", None)
        .define("SQLITE_DEFAULT_FOREIGN_KEYS", "1")
        .define("SQLITE_ENABLE_API_ARMOR", None)
        .define("SQLITE_ENABLE_COLUMN_METADATA", None)
        .define("SQLITE_ENABLE_DBSTAT_VTAB", None)
        .define("SQLITE_ENABLE_FTS5", None)
        .define("SQLITE_ENABLE_RTREE", None)
        .define("SQLITE_ENABLE_STAT4", None)
        .define("SQLITE_SOUNDEX", None)
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
