//! Grammars in GBNF and as JSON schemas: compiled, then followed for a few tokens.

use std::sync::LazyLock;

use engine::{Grammar, GrammarCompiler};
use model::Tokenizer;
use model::gguf::Gguf;
use testkit::TinySpec;

use crate::messages::checked;

/// Tokens that are followed.
const TOKENS: u32 = 8;

static VOCABULARY: LazyLock<(GrammarCompiler, u32)> = LazyLock::new(|| {
    let bytes = TinySpec::from_line("llama layers=1").build().gguf_bytes();
    let gguf = Gguf::parse(bytes.as_slice(), bytes.len() as u64).expect("the model is whole");
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).expect("it has a tokenizer");
    let n_vocab = u32::try_from(tokenizer.vocab_len()).expect("a small vocabulary");
    (GrammarCompiler::new(&tokenizer).expect("a small vocabulary"), n_vocab)
});

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "root ::= \"yes\" | \"no\" [a-z]{2,3} (\"x\" | y)+ # or\ny ::= [^\\x41\\n] .? y*\n",
        "root ::= item (\",\" item)*\nitem ::= \"\\\"\" [\\u00e0-ü]* \"\\\"\" | root\n",
        r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"enum":["x",null]}},"required":["a"]}"#,
        r##"{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/n"},"maxItems":3},{"type":"string","pattern":"^a+b?$"}],"$defs":{"n":{"type":"number","multipleOf":0.5}}}"##,
        r#"{"type":"string","format":"date-time","minLength":2,"oneOf":[{"const":"é"}],"additionalProperties":false}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

/// JSON is a schema, everything else is GBNF.
pub(crate) fn run(input: &[u8]) {
    let grammar = match serde_json::from_slice(input) {
        Ok(schema) => Grammar::JsonSchema(schema),
        Err(_) => Grammar::Gbnf(String::from_utf8_lossy(input).into_owned()),
    };
    let (compiler, n_vocab) = &*VOCABULARY;
    let Some(mut constraint) = checked(compiler.compile(&grammar)) else { return };
    for step in 0..TOKENS {
        if constraint.is_complete() {
            return;
        }
        let Some(mask) = checked(constraint.mask()) else { return };
        let allowed = (0..*n_vocab).map(|i| (i + 7 * step) % n_vocab).find(|token| mask.has(*token));
        let token = allowed.expect("the mask allows something");
        let Some(()) = checked(constraint.accept(token)) else { return };
    }
}
