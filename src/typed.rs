//! What was typed, in the commands that hints name: a person copies them and runs them.
//!
//! In: the arguments, and hints of crates that do not know them. Out: the same hints; a command of this side that
//! they name has the options that were typed. Commands for the other side stay as they are.

use std::ffi::OsString;

/// Commands whose hints may name the command itself again, with a further option.
const AGAIN: &[&str] = &["create", "import", "resources"];

/// Commands of the side that trusts.
const TRUSTING: &[&str] = &["import", "verify", "describe", "diff", "resources", "release", "keys"];

/// A command line that was parsed.
#[derive(Debug)]
pub struct Typed {
    /// The subcommand.
    verb: String,
    /// Everything else, as a shell takes it.
    words: Vec<String>,
    /// The value of `--workspace`.
    workspace: Option<String>,
}

impl Typed {
    /// The arguments behind the program's name; `None` when they cannot be shown as text.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let words: Option<Vec<String>> =
            arguments.into_iter().skip(1).map(|word| word.into_string().ok()).collect();
        let mut words = words?;
        let known = |word: &String| TRUSTING.contains(&&**word) || AGAIN.contains(&&**word);
        let verb = words.remove(words.iter().position(known)?);
        let at = words.iter().rposition(|word| word == "--workspace");
        let apart = at.and_then(|at| words.get(at + 1)).map(String::as_str);
        let joined = words.iter().rev().find_map(|word| word.strip_prefix("--workspace="));
        let workspace = apart.or(joined).map(quoted);
        Some(Self { verb, words: words.iter().map(|word| quoted(word)).collect(), workspace })
    }

    /// A hint with whole commands.
    pub fn complete(&self, hint: &str) -> String {
        // Every second piece stands between backticks.
        let pieces = hint.split('`').enumerate().map(|(at, piece)| match piece {
            command if at % 2 == 1 && command.starts_with("bundle ") => self.command(command),
            text => text.to_owned(),
        });
        pieces.collect::<Vec<_>>().join("`")
    }

    fn command(&self, command: &str) -> String {
        let mut words = command.split(' ').skip(1);
        let verb = words.next().unwrap_or_default();
        if verb == self.verb && AGAIN.contains(&verb) {
            return self.again(words.collect());
        }
        let here = match (verb, words.next()) {
            // The key that the other side has is shown there, and what is made here is trusted there.
            ("keys", Some("show")) => self.verb == "keys",
            ("keys", Some("trust" | "untrust")) => TRUSTING.contains(&&*self.verb),
            ("keys", _) => true,
            _ => false,
        };
        match &self.workspace {
            Some(workspace) if here && !command.contains("--workspace") => {
                format!("{command} --workspace {workspace}")
            }
            _ => command.to_owned(),
        }
    }

    /// The same command with further words. What stands for something that was typed is left out.
    fn again(&self, more: Vec<&str>) -> String {
        let has = |word: &str| self.words.iter().any(|typed| typed == word);
        let names_target = self.words.iter().any(|typed| typed.starts_with("docker://"));
        let mut line = vec!["bundle", &self.verb];
        line.extend(self.words.iter().map(String::as_str));
        let mut more = more.into_iter().peekable();
        while let Some(word) = more.next() {
            let stands_for = more.next_if(|next| next.bytes().all(|c| c.is_ascii_uppercase()));
            if has(word) || (word.starts_with("docker://") && names_target) {
                continue;
            }
            line.push(word);
            line.extend(stands_for);
        }
        line.join(" ")
    }
}

/// A word as a shell takes it for one.
pub fn quoted(word: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-./:@=+,%".contains(&c);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Typed {
        Typed::of(line.split('|').map(OsString::from)).unwrap()
    }

    #[test]
    fn a_command_of_a_hint_has_what_was_typed() {
        let import = typed("bundle|import|--from|my disk|--workspace|w|docker://host/ns");
        for (hint, whole) in [
            (
                "if so: `bundle import --new-stream`",
                "if so: `bundle import --from 'my disk' --workspace w docker://host/ns --new-stream`",
            ),
            (
                "`bundle import --from DIR docker://HOST:PORT`, there",
                "`bundle import --from 'my disk' --workspace w docker://host/ns`, there",
            ),
            (
                "`--trust FILE`, or `bundle keys trust FILE`",
                "`--trust FILE`, or `bundle keys trust FILE --workspace w`",
            ),
            // On the other side.
            ("`bundle keys show` there", "`bundle keys show` there"),
            ("`bundle create --full`", "`bundle create --full`"),
            ("run `the same` again", "run `the same` again"),
        ] {
            assert_eq!(import.complete(hint), whole);
        }
    }

    #[test]
    fn what_is_for_another_machine_stays() {
        let create = typed("bundle|--workspace=a b|create|-c|c.yaml|--to|out");
        assert_eq!(create.complete("`bundle keys trust FILE`"), "`bundle keys trust FILE`");
        assert_eq!(create.complete("`bundle keys new`"), "`bundle keys new --workspace 'a b'`");
        let own = "`bundle keys new --workspace x`";
        assert_eq!(create.complete(own), own);
        let keys = typed("bundle|keys|show|--workspace|w");
        assert_eq!(keys.complete("`bundle keys show ID`"), "`bundle keys show ID --workspace w`");
        let local = typed("bundle|import|--from|d");
        assert_eq!(
            local.complete("`bundle import --from DIR docker://HOST:PORT`"),
            "`bundle import --from d docker://HOST:PORT`"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
