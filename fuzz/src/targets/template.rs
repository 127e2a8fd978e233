//! Chat templates: any text as a template, on a conversation with a tool.

use std::sync::LazyLock;

use model::{ChatTemplate, RenderOptions};
use serde_json::{Value, json};

use crate::messages::checked;

static MESSAGES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let call = json!({ "function": { "name": "f", "arguments": { "x": [1, -2.5, null, "π"] } } });
    vec![
        json!({ "role": "system", "content": "Be brief." }),
        json!({ "role": "user", "content": "Hi <b>\n" }),
        json!({ "role": "assistant", "content": "", "tool_calls": [call] }),
    ]
});

static TOOLS: LazyLock<Vec<Value>> =
    LazyLock::new(|| vec![json!({ "type": "function", "function": { "name": "f", "parameters": {} } })]);

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let templates = [
        include_str!("../../../crates/model/tests/data/chat_templates/smollm2.jinja"),
        include_str!("../../../crates/model/tests/data/chat_templates/llama3_style.jinja"),
        include_str!("../../../crates/model/tests/data/chat_templates/qwen_style.jinja"),
        "{% for m in messages[::-1] %}{{ m | tojson(indent=2) | indent(3) }}{{ strftime_now('%d %b') }}{% endfor %}",
        "{% macro f(x) %}{{ x.strip().split(',')[0] | upper }}{% endmacro %}{{ f('a,b') ~ raise_exception('no') }}",
        "{% set ns = namespace(n=2 ** 3) %}{% if ns.n is number %}{{ '%05.1f' % ns.n }}{% else %}{{ {}.items() }}{% endif %}",
    ];
    let unbalanced = format!("{{{{ messages[::-1]{}) }}}}", " a".repeat(2000));
    templates.iter().map(|template| template.as_bytes().to_vec()).chain([unbalanced.into_bytes()]).collect()
}

pub(crate) fn run(input: &[u8]) {
    let source = String::from_utf8_lossy(input);
    let Some(template) = checked(ChatTemplate::new(&source, "<s>", "</s>")) else { return };
    let mut options = RenderOptions::new(&MESSAGES);
    options.tools = Some(&TOOLS);
    options.unix_time = Some(0);
    checked(template.render(&options));
}
