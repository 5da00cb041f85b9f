//! What a command could not do: a stable word for scripts, and one line that says what to do.

use crate::cli::Cli;

/// What a command could not do.
#[derive(Debug, Clone)]
pub struct Failure {
    /// A stable word.
    pub kind: &'static str,
    /// One line.
    pub message: String,
}

impl Failure {
    /// A failure of the journal's own.
    pub fn new(kind: &'static str, message: String) -> Self {
        Self { kind, message }
    }

    /// The same, with what the library cannot know: which folders were meant, and what the commands are called here.
    pub fn for_pod(&self, cli: &Cli) -> Self {
        let pod = cli.pod.as_deref().unwrap_or(std::path::Path::new(".")).display();
        let message = match self.kind {
            "no-pod" => format!(
                "there is no pod in {pod}: `journal --pod {pod} init` makes a new identity there, `join CODE` joins that of another device, `recover --peer ADDRESS` brings one back with its 24 words"
            ),
            "pod-exists" => format!("there is a pod in {pod} already: use it, or choose another folder"),
            "needs-recovery" => format!(
                "{}: `journal --pod {pod} recover` (if the secret is kept elsewhere, say --keys DIR)",
                self.message
            ),
            _ => self.message.clone(),
        };
        Self::new(self.kind, message)
    }
}

impl From<rhizome::Error> for Failure {
    fn from(error: rhizome::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// Something of the system's that a file or terminal needs.
pub fn system(what: &str) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::new("system", format!("{what}: {error}"))
}
