//! What happens to a template's text before it is compiled.
//!
//! Line ends become `\n`, as in Jinja. `{% generation %}` blocks, which mark the assistant's words for training, become
//! plain scopes. Sizes are limited here, because compiling takes time quadratic in the length of an operator chain.

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
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => tag_length(rest, "}}")?,
            Some(b'%') if is_tag(rest, "raw") => raw_length(rest),
            Some(b'%') => tag_length(rest, "%}")?,
            _ => 1,
        };
        push_tag(&mut out, &rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

fn push_tag(out: &mut String, tag: &str) {
    if is_tag(tag, "generation") {
        out.push_str(&tag.replacen("generation", "with", 1));
    } else if is_tag(tag, "endgeneration") {
        out.push_str(&tag.replacen("endgeneration", "endwith", 1));
    } else {
        out.push_str(tag);
    }
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
            let line = text[..16.min(text.len())].lines().next().unwrap_or_default();
            return Err(format!("the tag that starts with {line:?} is longer than {MAX_TAG_BYTES} bytes"));
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
