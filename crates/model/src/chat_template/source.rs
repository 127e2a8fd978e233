//! What happens to a template's text before it is compiled.
//!
//! Line ends become `\n`, as in Jinja. `{% generation %}` blocks, which mark the assistant's words for training, become
//! plain scopes. Values that `set` and `for` take go through the filters of `bounded`. Sizes are limited here, because
//! compiling takes time quadratic in the length of an operator chain.
//!
//! Tags are cut as the template library cuts them; where the two would differ, the library refuses the template.

use super::bounded::{ASSIGNED, ITERATED};

/// The longest template. The longest one seen in published models has 17 KB.
const MAX_SOURCE_BYTES: usize = 128 << 10;
/// The longest tag, counted without strings and white space. The longest one seen has 151.
const MAX_TAG_BYTES: usize = 1024;

/// Checks and rewrites a template.
///
/// Errors: it is too large, or has a tag that is too long.
pub(super) fn prepare(source: &str) -> Result<String, String> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(format!("{} bytes of template; the limit is {MAX_SOURCE_BYTES}", source.len()));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
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
        push_tag(&mut out, &rest[..length])?;
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Writes a tag: blocks that mark training text as scopes, assignments and loops with their guards.
fn push_tag(out: &mut String, tag: &str) -> Result<(), String> {
    let Some((open, name, body, close)) = split_tag(tag) else {
        out.push_str(tag);
        return Ok(());
    };
    let rewritten = match name {
        "generation" => Some(("with", body.to_owned())),
        "endgeneration" => Some(("endwith", body.to_owned())),
        "set" => guard_set(body)?.map(|body| (name, body)),
        "for" => guard_for(body)?.map(|body| (name, body)),
        _ => None,
    };
    match rewritten {
        Some((name, body)) => out.extend([open, name, &body, close]),
        None => out.push_str(tag),
    }
    Ok(())
}

/// A block tag as its opening with white space, its name, what follows, and its closing.
fn split_tag(tag: &str) -> Option<(&str, &str, &str, &str)> {
    let body = tag.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let (open, rest) = tag.split_at(tag.len() - body.len());
    let (name, rest) = rest.split_at(rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()));
    let body = rest.strip_suffix("%}")?;
    let body = body.strip_suffix(['-', '+']).unwrap_or(body);
    Some((open, name, body, &rest[body.len()..]))
}

/// `set target = value` or `set target | filters` with its guard; nothing for a `set` block of plain text.
fn guard_set(body: &str) -> Result<Option<String>, String> {
    if let Some(at) = top_level(body, |rest, _| rest.starts_with('='))? {
        let (target, value) = (&body[..at], &body[at + 1..]);
        return Ok(Some(format!("{target}=({value})|{ASSIGNED} ")));
    }
    let filtered = top_level(body, |rest, _| rest.starts_with('|'))?.is_some();
    Ok(filtered.then(|| format!("{body}|{ASSIGNED} ")))
}

/// `for target in value if condition` with its guard.
fn guard_for(body: &str) -> Result<Option<String>, String> {
    let Some(at) = top_level(body, |rest, before| starts_word(rest, before, "in"))? else { return Ok(None) };
    let (target, value) = (&body[..at], &body[at + 2..]);
    let ends = |rest: &str, before| starts_word(rest, before, "if") || starts_word(rest, before, "recursive");
    let end = top_level(value, ends)?.unwrap_or(value.len());
    Ok(Some(format!("{target}in ({})|{ITERATED} {}", &value[..end], &value[end..])))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `rest` starts with `word`, which neither goes on nor began before.
fn starts_word(rest: &str, before: Option<char>, word: &str) -> bool {
    let after = rest.strip_prefix(word).map(|rest| rest.chars().next());
    after.is_some_and(|after| !after.is_some_and(is_word)) && !before.is_some_and(is_word)
}

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
                depth = depth.checked_sub(1).ok_or_else(|| format!("unbalanced brackets in {text:?}"))?
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
