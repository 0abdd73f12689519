//! Reads EDN, the notation in which Clojure programs write data, as far as histories use it.
//!
//! Forms come one after the other with the line on which each begins, so that trouble can be named. Nesting is
//! bounded, hence no input can exhaust the stack. Tags are read and dropped: `#jepsen.history.Op{…}` is the map
//! that it holds. What forms mean is left to the caller.

use std::fmt;

/// One form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edn {
    Nil,
    /// Wider than any value of ours, so that one out of range can be named.
    Integer(i128),
    Text(String),
    /// Without its colon.
    Keyword(String),
    /// A symbol, a boolean, a character or a number with a fraction: nothing that a history computes with.
    Symbol(String),
    /// A vector, a list or a set.
    Sequence(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// What a map holds under a keyword.
    pub(crate) fn get(&self, keyword: &str) -> Option<&Edn> {
        let Edn::Map(entries) = self else { return None };
        entries
            .iter()
            .find(|(key, _)| matches!(key, Edn::Keyword(name) if name == keyword))
            .map(|(_, value)| value)
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edn::Nil => f.write_str("nil"),
            Edn::Integer(number) => write!(f, "{number}"),
            Edn::Text(text) => write_text(f, text),
            Edn::Keyword(name) => write!(f, ":{name}"),
            Edn::Symbol(name) => f.write_str(name),
            Edn::Sequence(forms) => {
                f.write_str("[")?;
                for (position, form) in forms.iter().enumerate() {
                    let space = if position == 0 { "" } else { " " };
                    write!(f, "{space}{form}")?;
                }
                f.write_str("]")
            }
            Edn::Map(entries) => {
                f.write_str("{")?;
                for (position, (key, value)) in entries.iter().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(f, "{comma}{key} {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            // The rest may stand in a string as it is.
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

/// Text that is not EDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Where it was noticed.
    pub(crate) line: usize,
    pub(crate) problem: String,
    /// The text ended inside a form: the line on which that form begins.
    pub(crate) unfinished_since: Option<usize>,
}

/// More nesting than any history has, and far less than a stack holds.
const DEPTH_MAX: usize = 64;

/// Reads form after form.
pub(crate) struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Reader<'a> {
        // A byte order mark is no part of the text.
        Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    /// The next form and the line on which it begins; `None` at the end.
    pub(crate) fn next_form(&mut self) -> Result<Option<(usize, Edn)>, Unreadable> {
        self.skip_blank(0)?;
        let line = self.line;
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.form(0)
            .map(|form| Some((line, form)))
            .map_err(|error| Unreadable { unfinished_since: error.unfinished_since.map(|_| line), ..error })
    }

    /// Steps over this character, if it comes next.
    pub(crate) fn accept(&mut self, wanted: char) -> Result<bool, Unreadable> {
        self.closes(wanted, 0)
    }

    fn closes(&mut self, wanted: char, depth: usize) -> Result<bool, Unreadable> {
        self.skip_blank(depth)?;
        let found = self.rest.starts_with(wanted);
        if found {
            self.advance();
        }
        Ok(found)
    }

    /// Whether only blanks and comments are left.
    pub(crate) fn at_end(&mut self) -> Result<bool, Unreadable> {
        self.skip_blank(0)?;
        Ok(self.rest.is_empty())
    }

    /// The text that was not read yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    /// The line of the character that comes next.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    fn form(&mut self, depth: usize) -> Result<Edn, Unreadable> {
        if depth > DEPTH_MAX {
            return Err(self.unreadable(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.skip_blank(depth)?;
        let Some(first) = self.rest.chars().next() else { return Err(self.unfinished()) };
        match first {
            '(' => self.sequence(')', depth).map(Edn::Sequence),
            '[' => self.sequence(']', depth).map(Edn::Sequence),
            '{' => self.map(depth),
            '"' => self.text().map(Edn::Text),
            '\\' => self.character(),
            '#' if self.rest.starts_with("#{") => {
                self.advance();
                self.sequence('}', depth).map(Edn::Sequence)
            }
            '#' => {
                self.advance();
                let tag = self.token();
                if tag.is_empty() {
                    return Err(self.unreadable("a `#` without a tag".to_owned()));
                }
                self.form(depth + 1)
            }
            ')' | ']' | '}' => Err(self.unreadable(format!("`{first}` closes nothing"))),
            _ => self.atom(),
        }
    }

    fn sequence(&mut self, close: char, depth: usize) -> Result<Vec<Edn>, Unreadable> {
        self.advance();
        let mut forms = Vec::new();
        while !self.closes(close, depth)? {
            forms.push(self.form(depth + 1)?);
        }
        Ok(forms)
    }

    fn map(&mut self, depth: usize) -> Result<Edn, Unreadable> {
        self.advance();
        let mut entries = Vec::new();
        while !self.closes('}', depth)? {
            let key = self.form(depth + 1)?;
            if self.closes('}', depth)? {
                return Err(self.unreadable(format!("the map has a key `{key}` without a value")));
            }
            entries.push((key, self.form(depth + 1)?));
        }
        Ok(Edn::Map(entries))
    }

    fn text(&mut self) -> Result<String, Unreadable> {
        self.advance();
        let mut text = String::new();
        loop {
            match self.advance().ok_or_else(|| self.unfinished())? {
                '"' => return Ok(text),
                '\\' => match self.advance().ok_or_else(|| self.unfinished())? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => text.push(self.code_point()?),
                    same @ ('"' | '\\' | '\'') => text.push(same),
                    other => return Err(self.unreadable(format!("`\\{other}` is not an escape"))),
                },
                other => text.push(other),
            }
        }
    }

    fn code_point(&mut self) -> Result<char, Unreadable> {
        let digits: String = self.rest.chars().take(4).collect();
        if digits.chars().count() < 4 {
            return Err(self.unfinished());
        }
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.is_ascii());
        let character = code
            .and_then(char::from_u32)
            .ok_or_else(|| self.unreadable(format!("`\\u{digits}` is not a character")))?;
        self.rest = &self.rest[digits.len()..];
        Ok(character)
    }

    fn character(&mut self) -> Result<Edn, Unreadable> {
        self.advance();
        let first = self.advance().ok_or_else(|| self.unfinished())?;
        // `\newline`, `\u0041`: the name goes on as a token does.
        let name = if first.is_alphanumeric() { self.token() } else { "" };
        Ok(Edn::Symbol(format!("\\{first}{name}")))
    }

    fn atom(&mut self) -> Result<Edn, Unreadable> {
        let token = self.token();
        if token.is_empty() {
            let found = self.rest.chars().next().unwrap_or(' ');
            return Err(self.unreadable(format!("`{found}` begins no form")));
        }
        if let Some(name) = token.strip_prefix(':') {
            return Ok(Edn::Keyword(name.to_owned()));
        }
        let number = token.strip_suffix('N').unwrap_or(token);
        Ok(match number.parse() {
            Ok(number) => Edn::Integer(number),
            Err(_) if token == "nil" => Edn::Nil,
            Err(_) => Edn::Symbol(token.to_owned()),
        })
    }

    /// All up to the next blank or bracket.
    fn token(&mut self) -> &'a str {
        let ends = |character: char| character.is_whitespace() || ",;\"()[]{}\\".contains(character);
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    /// Skips what means nothing: blanks, commas, comments, and forms behind `#_`.
    fn skip_blank(&mut self, depth: usize) -> Result<(), Unreadable> {
        loop {
            match self.rest.chars().next() {
                Some(blank) if blank.is_whitespace() || blank == ',' => {
                    self.advance();
                }
                Some(';') => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                Some('#') if self.rest.starts_with("#_") => {
                    self.rest = &self.rest[2..];
                    self.form(depth + 1)?;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn unreadable(&self, problem: String) -> Unreadable {
        Unreadable { line: self.line, problem, unfinished_since: None }
    }

    fn unfinished(&self) -> Unreadable {
        let problem = "the text ends inside a form".to_owned();
        Unreadable { line: self.line, problem, unfinished_since: Some(self.line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_with_their_lines() {
        let text = "; a comment\n{:type :ok, :value [1 -2 3N nil \"a\\nb\" sym 1.5 true \\newline]}\n#{1}\n(x)\n#a/b {:k #_ {:no [1]} :v}";
        let mut reader = Reader::new(text);
        let mut shown = Vec::new();
        while let Some((line, form)) = reader.next_form().expect("EDN") {
            shown.push(format!("{line} {form}"));
        }
        assert_eq!(
            shown,
            [
                "2 {:type :ok, :value [1 -2 3 nil \"a\\nb\" sym 1.5 true \\newline]}",
                "3 [1]",
                "4 [x]",
                "5 {:k :v}"
            ]
        );
    }

    #[test]
    fn trouble_has_a_line() {
        let error = |text: &str| Reader::new(text).next_form().expect_err(text);
        let problems = [
            ("\n]", 2, "`]` closes nothing"),
            ("{:a 1\n:b}", 2, "the map has a key `:b` without a value"),
            ("\"\\q\"", 1, "`\\q` is not an escape"),
            ("\"\\ud800\"", 1, "`\\ud800` is not a character"),
            ("# 1", 1, "a `#` without a tag"),
        ];
        for (text, line, problem) in problems {
            let found = error(text);
            assert_eq!((found.line, found.problem.as_str(), found.unfinished_since), (line, problem, None));
        }
        for unfinished in ["[1\n2", "{:a", "\"abc", "#_ [1", "#{", "#tag", "\\", "\"\\u12"] {
            assert!(error(unfinished).unfinished_since.is_some(), "{unfinished}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for open in ["[", "(", "{:a ", "#{", "#t ", "#_", "#_[", "[#_"] {
            let found = Reader::new(&open.repeat(100_000)).next_form().expect_err(open);
            assert!(found.unfinished_since.is_some() || found.problem.starts_with("nested"), "{found:?}");
        }
    }
}
