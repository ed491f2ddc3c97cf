//! Whether a person agrees to what was planned.

use std::io::{self, IsTerminal as _, Write as _};

use crate::failure::Failure;
use crate::output::Output;

/// Whether there is somebody to ask, who sees the plan.
pub fn can_ask(output: Output) -> bool {
    !output.is_json() && io::stdin().is_terminal()
}

/// Shows a plan and asks.
pub fn agree(plan: &str, warning: &str) -> Result<(), Failure> {
    let refused = || Failure::usage("nothing was changed").with_hint("answer `yes` to go on");
    let question = format!("{plan}{warning}\nGo on? yes/no: ");
    let mut answer = String::new();
    let asked = io::stderr().write_all(question.as_bytes());
    asked.and_then(|()| io::stdin().read_line(&mut answer)).map_err(|_| refused())?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused()) }
}
