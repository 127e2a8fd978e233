//! Renders the `template` of a request, in the part of Go's template language that such templates use.
//!
//! That is `{{ .System }}`, `{{ .Prompt }}`, `{{ .Response }}`, `{{ .Suffix }}`, `{{ if .X }} ... {{ else }} ... {{ end }}`, and `-`
//! to trim white space. The text ends where the response begins. Loops, pipes and functions are errors.

use crate::failure::Failure;

/// What a template sees.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Variables<'a> {
    pub(super) system: &'a str,
    pub(super) prompt: &'a str,
    pub(super) suffix: &'a str,
}

/// An `if` that is open: whether its text is shown, and whether its condition held.
struct Branch {
    shows: bool,
    held: bool,
}

/// Renders a template.
///
/// Errors: it uses something that is not supported.
pub(super) fn render(template: &str, variables: Variables<'_>) -> Result<String, Failure> {
    let mut out = String::new();
    let mut open: Vec<Branch> = Vec::new();
    let mut rest = template;
    let mut has_prompt = false;
    while let Some(at) = rest.find("{{") {
        let end = rest[at..].find("}}").ok_or_else(|| unsupported("an action without its }}"))? + at;
        let (before, action, mut after) = (&rest[..at], &rest[at + 2..end], &rest[end + 2..]);
        let (action, trims_before) = action.strip_prefix('-').map_or((action, false), |action| (action, true));
        let (action, trims_after) = action.strip_suffix('-').map_or((action, false), |action| (action, true));
        let shows = open.iter().all(|branch| branch.shows);
        if shows {
            out.push_str(if trims_before { before.trim_end() } else { before });
        }
        if trims_after {
            after = after.trim_start();
        }
        rest = after;
        let words: Vec<&str> = action.split_whitespace().collect();
        match words[..] {
            ["if", name] => {
                let held = !value(name, variables)?.is_empty();
                open.push(Branch { shows: held, held });
            }
            ["else"] => match open.last_mut() {
                Some(branch) => branch.shows = !branch.held,
                None => return Err(unsupported("else without if")),
            },
            ["end"] => {
                open.pop().ok_or_else(|| unsupported("end without if"))?;
            }
            [".Response"] if shows => return Ok(out),
            [".Response"] => {}
            [name] => {
                let value = value(name, variables)?;
                if shows {
                    has_prompt |= name == ".Prompt";
                    out.push_str(value);
                }
            }
            _ => return Err(unsupported(action.trim())),
        }
    }
    if open.is_empty() {
        out.push_str(rest);
    } else {
        return Err(unsupported("if without end"));
    }
    // A template that names no prompt is put before it, as Ollama does.
    Ok(if has_prompt { out } else { out + variables.prompt })
}

fn value<'a>(name: &str, variables: Variables<'a>) -> Result<&'a str, Failure> {
    match name {
        ".System" => Ok(variables.system),
        ".Prompt" => Ok(variables.prompt),
        ".Suffix" => Ok(variables.suffix),
        ".Response" => Ok(""),
        other => Err(unsupported(other)),
    }
}

fn unsupported(what: &str) -> Failure {
    Failure::bad_field(
        "template",
        format!("template: {what:?} is not supported: use .System, .Prompt, .Response, .Suffix, if, else and end"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_render_and_what_is_not_supported_is_named() {
        let variables = Variables { system: "S", prompt: "P", suffix: "" };
        let cases = [
            (
                "{{ if .System }}<s>{{ .System }}</s>\n{{ end }}<u>{{ .Prompt }}</u>\n<a>{{ .Response }}</a>",
                "<s>S</s>\n<u>P</u>\n<a>",
            ),
            ("{{- if .Suffix }}x{{ else }} y {{- end }}{{ .Prompt }}", " yP"),
            ("a {{- .Prompt -}}  b", "aPb"),
            ("Q: ", "Q: P"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, variables).unwrap(), expected, "{template}");
        }
        for template in
            ["{{ range .Messages }}{{ end }}", "{{ .Prompt", "{{ if .System }}", "{{ end }}", "{{ .Tools }}"]
        {
            assert!(render(template, variables).unwrap_err().message.starts_with("template:"), "{template}");
        }
    }
}
