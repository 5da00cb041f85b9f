//! Generates the Swift and Kotlin sources from a built library:
//! `rhizome-bindgen generate --library LIB --language swift|kotlin --config uniffi.toml --out-dir DIR`.

fn main() {
    uniffi::uniffi_bindgen_main();
}
