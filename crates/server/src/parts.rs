//! Splits the text of a model, as it comes, into thoughts, text and tool calls.
//!
//! Models mark thoughts with `<think>`, and calls in a few ways: JSON between `<tool_call>` tags (Hermes, Qwen), or an answer that
//! consists of JSON, one call or a list of them, after a special token that is not part of the text (Llama 3, Mistral). Text that
//! only looks like a call stays text.

use serde_json::Value;

use crate::prompt::THINK;

const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");

/// Prefixes of a call that is the whole answer.
const CALL_PREFIXES: [&str; 2] = ["[TOOL_CALLS]", "<|python_tag|>"];

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Thinking(String),
    Call { name: String, arguments: Value },
}

/// Splits an answer into parts.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    phase: Phase,
    splits_thinking: bool,
    has_tools: bool,
    /// Text that may be the start of a mark.
    held: String,
    /// Whether to skip white space, as after thoughts and calls.
    trims: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Start,
    Thinking,
    Text,
    Call,
    /// Everything that follows may be a call.
    Json,
}

impl Splitter {
    /// `opens_thinking`: the prompt ended inside the thoughts. Without `splits_thinking`, thoughts stay in the text.
    pub(crate) fn new(splits_thinking: bool, opens_thinking: bool, has_tools: bool) -> Splitter {
        let phase = if splits_thinking && opens_thinking { Phase::Thinking } else { Phase::Start };
        Splitter { phase, splits_thinking, has_tools, held: String::new(), trims: phase == Phase::Thinking }
    }

    /// Adds text, and returns the parts that can be shown.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// The remaining parts at the end of the text.
    pub(crate) fn finish(&mut self) -> Vec<Part> {
        let held = std::mem::take(&mut self.held);
        let mut parts = Vec::new();
        match self.phase {
            Phase::Thinking => self.add(&mut parts, Part::Thinking(held)),
            Phase::Json => match calls(&held) {
                Some(calls) => parts.extend(calls),
                None => self.add(&mut parts, Part::Text(held)),
            },
            Phase::Call => match calls(&held) {
                Some(calls) => parts.extend(calls),
                // A call that was cut short is not text.
                None if is_cut(&held) => {}
                None => self.add(&mut parts, Part::Text(CALL.0.to_owned() + &held)),
            },
            Phase::Start | Phase::Text if self.has_tools && is_begun(&held) => {}
            Phase::Start | Phase::Text => self.add(&mut parts, Part::Text(held)),
        }
        parts
    }

    /// Makes one step; returns whether another may follow.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.phase {
            Phase::Start => self.start(),
            Phase::Thinking => {
                let (before, found) = self.until(THINK.1);
                self.add(parts, Part::Thinking(before));
                if found {
                    (self.phase, self.trims, self.splits_thinking) = (Phase::Start, true, false);
                }
                found
            }
            Phase::Text => {
                if !self.has_tools {
                    let all = std::mem::take(&mut self.held);
                    self.add(parts, Part::Text(all));
                    return false;
                }
                let (before, found) = self.until(CALL.0);
                self.add(parts, Part::Text(before));
                if found {
                    self.phase = Phase::Call;
                }
                found
            }
            Phase::Call => {
                let Some(at) = self.held.find(CALL.1) else { return false };
                let body = self.held[..at].to_owned();
                self.held.drain(..at + CALL.1.len());
                match calls(&body) {
                    Some(calls) => parts.extend(calls),
                    None => self.add(parts, Part::Text(format!("{}{body}{}", CALL.0, CALL.1))),
                }
                (self.phase, self.trims) = (Phase::Text, true);
                true
            }
            Phase::Json => false,
        }
    }

    /// Tells from its first characters what an answer is.
    fn start(&mut self) -> bool {
        let trimmed = self.held.trim_start();
        if trimmed.is_empty() {
            return false;
        }
        let may_be = |mark: &str| mark.starts_with(trimmed);
        if self.splits_thinking && (may_be(THINK.0) || trimmed.starts_with(THINK.0)) {
            if trimmed.len() < THINK.0.len() {
                return false;
            }
            self.held = trimmed[THINK.0.len()..].to_owned();
            (self.phase, self.trims) = (Phase::Thinking, true);
            return true;
        }
        if self.has_tools {
            let prefix = CALL_PREFIXES.iter().find(|prefix| trimmed.starts_with(**prefix));
            if prefix.is_some() || trimmed.starts_with(['{', '[']) {
                self.phase = Phase::Json;
                return false;
            }
            if CALL_PREFIXES.into_iter().any(may_be) {
                return false;
            }
        }
        self.phase = Phase::Text;
        true
    }

    /// Takes the text that is certainly before `mark`, and the mark if it is there; returns whether it is.
    fn until(&mut self, mark: &str) -> (String, bool) {
        if let Some(at) = self.held.find(mark) {
            let before = self.held[..at].to_owned();
            self.held.drain(..at + mark.len());
            return (before, true);
        }
        // The longest suffix that starts the mark may become it.
        let is_open = |at: &usize| mark.starts_with(&self.held[*at..]);
        let keep =
            self.held.char_indices().map(|(at, _)| at).filter(|at| self.held.len() - at < mark.len()).find(is_open);
        let rest = self.held.split_off(keep.unwrap_or(self.held.len()));
        (std::mem::replace(&mut self.held, rest), false)
    }

    fn add(&mut self, parts: &mut Vec<Part>, part: Part) {
        let (Part::Text(text) | Part::Thinking(text)) = &part else { return parts.push(part) };
        let shown = if self.trims { text.trim_start() } else { text };
        if shown.is_empty() {
            return;
        }
        self.trims = false;
        parts.push(match part {
            Part::Thinking(_) => Part::Thinking(shown.to_owned()),
            _ => Part::Text(shown.to_owned()),
        });
    }
}

/// Whether the JSON of a call is cut short.
fn is_cut(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_err_and(|error| error.is_eof())
}

/// Whether a text starts the mark of a call, and is long enough to be nothing else.
fn is_begun(text: &str) -> bool {
    let text = text.trim_start();
    text.len() > "<tool".len() && CALL.0.starts_with(text)
}

/// The calls in a text that consists of calls.
fn calls(text: &str) -> Option<Vec<Part>> {
    let mut text = text.trim();
    for prefix in CALL_PREFIXES {
        text = text.strip_prefix(prefix).unwrap_or(text).trim_start();
    }
    let values = match serde_json::from_str(text).ok()? {
        Value::Array(values) => values,
        value => vec![value],
    };
    let call = |value: Value| {
        let value = value.get("function").filter(|function| function.is_object()).unwrap_or(&value);
        let name = value.get("name")?.as_str()?.to_owned();
        let arguments = match value.get("arguments").or_else(|| value.get("parameters"))? {
            Value::String(text) => serde_json::from_str(text).ok()?,
            arguments => arguments.clone(),
        };
        arguments.is_object().then_some(Part::Call { name, arguments })
    };
    let calls: Option<Vec<Part>> = values.into_iter().map(call).collect();
    calls.filter(|calls| !calls.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The parts of an answer that comes in pieces of `n` characters, neighbours of a kind put together.
    fn split(mut splitter: Splitter, text: &str, n: usize) -> Vec<Part> {
        let chars: Vec<char> = text.chars().collect();
        let mut parts: Vec<Part> =
            chars.chunks(n).flat_map(|piece| splitter.push(&piece.iter().collect::<String>())).collect();
        parts.extend(splitter.finish());
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (Some(Part::Text(all)), Part::Text(more)) | (Some(Part::Thinking(all)), Part::Thinking(more)) => {
                    *all += &more
                }
                (_, part) => joined.push(part),
            }
        }
        joined
    }

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn thinking(text: &str) -> Part {
        Part::Thinking(text.to_owned())
    }

    fn call(name: &str, arguments: Value) -> Part {
        Part::Call { name: name.to_owned(), arguments }
    }

    #[test]
    fn however_an_answer_is_cut_its_parts_are_the_same() {
        let weather = || call("weather", json!({ "city": "Oslo" }));
        let cases = [
            ((true, false, false), " plain <b> text ", vec![text(" plain <b> text ")]),
            ((false, false, false), "<think>a</think>b", vec![text("<think>a</think>b")]),
            (
                (true, false, false),
                "<think>\na</thin</think>\n\nb <think>",
                vec![thinking("a</thin"), text("b <think>")],
            ),
            ((true, true, false), "\na\n</think>b", vec![thinking("a\n"), text("b")]),
            ((true, true, true), "a", vec![thinking("a")]),
            (
                (true, false, true),
                "Let me see.<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>\n<tool_call>{\"name\":\"weather\",\"parameters\":{\"city\":\"Oslo\"}}",
                vec![text("Let me see."), weather(), weather()],
            ),
            ((true, false, true), "<tool_call>no call</tool_call>", vec![text("<tool_call>no call</tool_call>")]),
            ((true, false, true), " [{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\"}}]", vec![weather()]),
            (
                (true, false, true),
                "[TOOL_CALLS] [{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\\\"Oslo\\\"}\"}]",
                vec![weather()],
            ),
            ((true, false, true), "[1, 2] are numbers", vec![text("[1, 2] are numbers")]),
            (
                (true, false, false),
                "{\"name\":\"weather\",\"arguments\":{}}",
                vec![text("{\"name\":\"weather\",\"arguments\":{}}")],
            ),
            ((true, false, true), "<thinking>, <too> and <", vec![text("<thinking>, <too> and <")]),
            ((true, false, true), "so: <tool_call>{\"name\": \"wea", vec![text("so: ")]),
            ((true, false, true), "<tool_ca", vec![]),
            ((true, false, true), "", vec![]),
        ];
        for ((splits, opens, tools), answer, expected) in cases {
            for n in [1, 2, 3, 7, 1000] {
                let splitter = Splitter::new(splits, opens, tools);
                assert_eq!(split(splitter, answer, n), expected, "{answer:?} in pieces of {n}");
            }
        }
    }
}
