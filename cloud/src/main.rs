//! `rhizome-cloud`: see [`rhizome_cloud::cli`].

fn main() -> std::process::ExitCode {
    rhizome_cloud::cli::main(std::env::args_os())
}
