//! Rewrites a template's text before it is compiled, and limits its nesting.
//!
//! Line ends become `\n`, as in Jinja. `{% generation %}` blocks, which mark the assistant's words for training, become
//! plain scopes. Values that `set` and `for` take go through the filters of `bounded`.
//!
//! The template library limits how deep brackets and blocks nest, but not `elif` chains nor chains of operators, on
//! whose length its parser or compiler recurses. So `elif` tags and the length of a tag are limited here; compiling also
//! takes time quadratic in the length of an operator chain.
//!
//! Tags are cut as the template library cuts them; where the two would differ, the library refuses the template.

use super::bounded::{ASSIGNED, ITERATED, STORED};

/// The longest template. The longest one seen in published models has 17 KB.
const MAX_SOURCE_BYTES: usize = 128 << 10;
/// The longest tag, counted without strings and white space. The longest one seen has 151.
const MAX_TAG_BYTES: usize = 1024;
/// The `if` and `elif` tags of all open `if` blocks; each takes 1.2 KiB of stack to compile.
const MAX_OPEN_IFS: usize = 1000;

/// Checks and rewrites a template.
///
/// Errors: it is too large, has a tag that is too long, or too many open `elif` tags.
pub(super) fn prepare(source: &str) -> Result<String, String> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(format!("the template has {} bytes, more than {MAX_SOURCE_BYTES}", source.len()));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let mut open_ifs = Vec::new();
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest[2..].find("#}").map_or(rest.len(), |end| end + 4),
            Some(b'{') => tag_length(rest, "}}")?,
            Some(b'%') if is_tag(rest, "raw") => raw_length(rest),
            Some(b'%') => tag_length(rest, "%}")?,
            _ => 1,
        };
        if let Some(tag) = split_tag(&rest[..length]) {
            count_elifs(&mut open_ifs, tag.name)?;
            tag.write(&mut out)?;
        } else {
            out.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Counts a tag by its name; `open` has the number of `elif` tags of each open `if` block.
///
/// Errors: too many are open.
fn count_elifs(open: &mut Vec<usize>, name: &str) -> Result<(), String> {
    match (name, open.last_mut()) {
        ("if", _) => open.push(0),
        ("elif", Some(n)) => *n += 1,
        ("endif", _) => drop(open.pop()),
        _ => return Ok(()),
    }
    if open.len() + open.iter().sum::<usize>() > MAX_OPEN_IFS {
        return Err(format!("more than {MAX_OPEN_IFS} `if` and `elif` tags are open at once"));
    }
    Ok(())
}

/// A block tag: its opening with white space, its name, what follows, and its closing.
struct Tag<'t> {
    open: &'t str,
    name: &'t str,
    body: &'t str,
    close: &'t str,
}

fn split_tag(tag: &str) -> Option<Tag<'_>> {
    let body = tag.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let (open, rest) = tag.split_at(tag.len() - body.len());
    let (name, rest) = rest.split_at(rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()));
    let body = rest.strip_suffix("%}")?;
    let body = body.strip_suffix(['-', '+']).unwrap_or(body);
    Some(Tag { open, name, body, close: &rest[body.len()..] })
}

impl Tag<'_> {
    /// Writes the tag: training marks as scopes, assignments and loops with their guards.
    fn write(&self, out: &mut String) -> Result<(), String> {
        let &Tag { open, name, body, close } = self;
        match name {
            "generation" => out.extend([open, "with", body, close]),
            "endgeneration" => out.extend([open, "endwith", body, close]),
            "set" => out.extend([open, name, &guard_set(body)?, close]),
            "for" => {
                let (body, guard) = guard_for(body)?;
                out.extend([open, name, &body, close]);
                // The same closing, so that white space after the loop's tag is treated the same.
                guard.iter().for_each(|guard| out.extend(["{% set ", guard, close]));
            }
            _ => out.extend([open, name, body, close]),
        }
        Ok(())
    }
}

/// The body of a `set` tag with a guard around its value or filters; a `set` block of plain text needs none.
fn guard_set(body: &str) -> Result<String, String> {
    // A target with a dot is an attribute of a namespace.
    let guard = |target: &str| if target.contains('.') { STORED } else { ASSIGNED };
    if let Some(at) = top_level(body, |rest, _| rest.starts_with('='))? {
        let (target, value) = (&body[..at], &body[at + 1..]);
        return Ok(format!("{target}=({value})|{} ", guard(target)));
    }
    Ok(match top_level(body, |rest, _| rest.starts_with('|'))? {
        Some(at) => format!("{body}|{} ", guard(&body[..at])),
        None => body.to_owned(),
    })
}

/// The body of `for target in value if condition` with its guard. A recursive loop also needs the body of a `set` tag
/// that guards its items, since those of `loop(items)` pass no other guard.
fn guard_for(body: &str) -> Result<(String, Option<String>), String> {
    let Some(at) = top_level(body, |rest, before| starts_word(rest, before, "in"))? else {
        return Ok((body.to_owned(), None));
    };
    let (target, value) = (&body[..at], &body[at + 2..]);
    let ends = |rest: &str, before| starts_word(rest, before, "if") || starts_word(rest, before, "recursive");
    let end = top_level(value, ends)?.unwrap_or(value.len());
    let recursive = top_level(value, |rest, before| starts_word(rest, before, "recursive"))?.is_some();
    let guard = recursive.then(|| format!("{target}=({target})|{ASSIGNED} "));
    Ok((format!("{target}in ({})|{ITERATED} {}", &value[..end], &value[end..]), guard))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `rest` starts with `word`, which neither goes on nor began before.
fn starts_word(rest: &str, before: Option<char>, word: &str) -> bool {
    let after = rest.strip_prefix(word).map(|rest| rest.chars().next());
    after.is_some_and(|after| !after.is_some_and(is_word)) && !before.is_some_and(is_word)
}

/// Characters of a template that a message quotes.
const QUOTED_CHARS: usize = 60;

/// The first place outside strings and brackets that `wanted` accepts, seeing the rest and the character before it.
///
/// Errors: a bracket closes that never opened, which would end the brackets that a guard puts around a value.
fn top_level(text: &str, wanted: impl Fn(&str, Option<char>) -> bool) -> Result<Option<usize>, String> {
    let (mut at, mut depth, mut before, mut found) = (0, 0usize, None, None);
    while let Some(character) = text[at..].chars().next() {
        if found.is_none() && depth == 0 && wanted(&text[at..], before) {
            found = Some(at);
        }
        at = match character {
            '"' | '\'' => (string_end(text.as_bytes(), at, character as u8) + 1).min(text.len()),
            _ => at + character.len_utf8(),
        };
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                let quoted = || text.chars().take(QUOTED_CHARS).collect::<String>();
                depth = depth.checked_sub(1).ok_or_else(|| format!("unbalanced brackets in {:?}", quoted()))?;
            }
            _ => {}
        }
        before = Some(character);
    }
    Ok(found)
}

/// Whether `text` starts with the tag `{% name %}`.
fn is_tag(text: &str, name: &str) -> bool {
    let body = text.strip_prefix("{%").map(|t| t.trim_start_matches(['-', '+']).trim_start());
    let end = body.and_then(|t| t.strip_prefix(name)).map(|t| t.trim_start().trim_start_matches(['-', '+']));
    end.is_some_and(|t| t.starts_with("%}"))
}

/// The length of a raw block up to its end tag.
fn raw_length(text: &str) -> usize {
    let ends = text.match_indices("{%").map(|(at, _)| at);
    ends.skip(1).find(|&at| is_tag(&text[at..], "endraw")).unwrap_or(text.len())
}

/// The length of a tag that closes with `end`, which does not count inside strings and brackets.
fn tag_length(text: &str, end: &str) -> Result<usize, String> {
    let bytes = text.as_bytes();
    let (mut at, mut weight, mut depth) = (2, 0, 0usize);
    while at < bytes.len() {
        if depth == 0 && bytes[at..].starts_with(end.as_bytes()) {
            return Ok(at + 2);
        }
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = string_end(bytes, at, quote),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        weight += usize::from(!bytes.get(at).is_some_and(u8::is_ascii_whitespace));
        if weight > MAX_TAG_BYTES {
            let start: String = text.chars().take(16).collect();
            return Err(format!("the tag that starts with {start:?} is longer than {MAX_TAG_BYTES} bytes"));
        }
        at += 1;
    }
    Ok(bytes.len())
}

/// The index of the quote that closes the string which opens at `at`.
fn string_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut i = at + 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    i
}
