//! What an unquoted YAML scalar means.
//!
//! oc-mirror reads its configuration with a YAML 1.1 reader and hands it on as JSON: there `yes` is a
//! boolean and `4.10` the number 4.1. We never guess: a text field takes texts only, a flag takes
//! `true` and `false` only, and the caller says which quotes are missing.

/// The meaning of one scalar without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// `yes`, `no`, `on`, `off`, `y`, `n`: booleans of YAML 1.1, texts of YAML 1.2.
    OldFlag,
    /// Any notation of a number.
    Number,
    /// Everything else.
    Text,
}

/// Classifies the text of a scalar without quotes.
pub(super) fn plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Flag(true),
        "false" | "False" | "FALSE" => Plain::Flag(false),
        _ if is_old_flag(text) => Plain::OldFlag,
        _ if is_number(text) => Plain::Number,
        _ => Plain::Text,
    }
}

fn is_old_flag(text: &str) -> bool {
    ["yes", "no", "on", "off", "y", "n"].iter().any(|word| word.eq_ignore_ascii_case(text))
}

fn is_number(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".nan"].iter().any(|word| word.eq_ignore_ascii_case(body)) {
        return true;
    }
    let radix = |prefix: &str, base: u32| {
        body.strip_prefix(prefix).is_some_and(|digits| {
            !digits.is_empty() && digits.chars().all(|c| c.is_digit(base) || c == '_')
        })
    };
    if radix("0x", 16) || radix("0o", 8) || radix("0b", 2) {
        return true;
    }
    // `parse` knows `inf` and `nan` too, which are texts in YAML.
    body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && body.contains(|c: char| c.is_ascii_digit())
        && body.replace('_', "").parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_they_mean_to_a_yaml_1_1_reader() {
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(plain(text), Plain::Null, "{text}");
        }
        for text in ["yes", "No", "ON", "off", "y", "N"] {
            assert_eq!(plain(text), Plain::OldFlag, "{text}");
        }
        for text in
            ["4.10", "4", "-1", "+2", "1e3", "0x1F", "0o17", "1_000", ".5", "4.", ".inf", "-.NaN"]
        {
            assert_eq!(plain(text), Plain::Number, "{text}");
        }
        for text in
            ["4.10.1", "v4", "amd64", "inf", "nan", "-", ".", "_", "0x", "1.2-3", "e3", "._"]
        {
            assert_eq!(plain(text), Plain::Text, "{text}");
        }
        assert_eq!(plain("true"), Plain::Flag(true));
        assert_eq!(plain("FALSE"), Plain::Flag(false));
    }
}
