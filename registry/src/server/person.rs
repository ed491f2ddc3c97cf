//! Who of this machine gave a command, as the audit log has it.
//!
//! In: the number that the kernel gives for the other end of the control socket, and what `sudo` says. Out: words. What must
//! hold: only the number is proof; a name is looked up here, and what the command says of itself is marked as said.

use std::io::Read as _;

/// Bytes of `/etc/passwd` that are read; one of ten thousand accounts has less.
const PASSWD_MAX: u64 = 4 * 1024 * 1024;

/// Letters of a name.
const NAME_MAX: usize = 64;

/// `local user alice (uid 1000)`, or with a command through sudo `local user root (uid 0), by sudo of alice`.
pub(super) fn of(uid: Option<u32>, sudo: Option<&str>) -> String {
    let Some(uid) = uid else { return "local user unknown".to_owned() };
    let mut passwd = String::new();
    let read = fs_err::File::open("/etc/passwd")
        .and_then(|file| file.take(PASSWD_MAX).read_to_string(&mut passwd));
    if read.is_err() {
        passwd.clear();
    }
    let name = name_in(&passwd, uid).map(|name| format!("{name} ")).unwrap_or_default();
    let sudo = sudo.filter(|name| is_name(name));
    let sudo = sudo.map(|name| format!(", by sudo as it says of {name}")).unwrap_or_default();
    format!("local user {name}(uid {uid}){sudo}")
}

/// Whether this can be the name of a local user, and stand in a query.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

fn name_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| is_name(name))?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_name_that_the_machine_gives_it() {
        let passwd = "root:x:0:0::/root:/bin/sh\nodd\na b:x:7:7::/:/x\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000), Some("alice"));
        assert_eq!(name_in(passwd, 7), None);
        assert_eq!(name_in(passwd, 2), None);
    }

    #[test]
    fn what_sudo_says_is_only_said() {
        let told = of(Some(4_000_000_000), Some("alice"));
        assert_eq!(told, "local user (uid 4000000000), by sudo as it says of alice");
        assert_eq!(of(Some(4_000_000_000), Some("a\nb")), "local user (uid 4000000000)");
        assert_eq!(of(None, None), "local user unknown");
    }
}
