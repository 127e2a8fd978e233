//! Schemas by chance: nested objects and lists, choices, bounds, references, such that every text has an end.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

const NAMES: [&str; 8] = ["name", "age", "tags", "size", "a b", "größe", "id", "x"];
const WORDS: [&str; 6] = ["red", "green", "blue", "dark blue", "é\"\\", "🦀"];
const PATTERNS: [&str; 5] = ["^[a-z]{1,6}$", "^[A-Z]{2}-[0-9]{3}$", "^(yes|no|maybe)$", "^#[0-9a-f]{6}$", "^.{3}x$"];
const FORMATS: [&str; 4] = ["date", "ipv4", "uuid", "ipv6"];

/// The schema that a seed makes.
pub(crate) fn random_schema(seed: u64) -> Value {
    let mut maker = Maker(ChaCha8Rng::seed_from_u64(seed));
    let mut schema = maker.object(3);
    schema["$defs"] = json!({ "one": maker.value(1), "two": maker.value(1) });
    schema
}

struct Maker(ChaCha8Rng);

impl Maker {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth > 0 { 12 } else { 8 }) {
            0 => json!({ "type": "boolean" }),
            1 => json!({ "enum": self.literals() }),
            2 => json!({ "const": self.literals()[0] }),
            3 => self.integer(),
            4 => self.number(),
            5 => json!({ "type": "string", "pattern": self.pick(&PATTERNS) }),
            6 => json!({ "type": "string", "format": self.pick(&FORMATS) }),
            7 => {
                let min = self.below(4);
                json!({ "type": "string", "minLength": min, "maxLength": min + self.below(6) })
            }
            8 => self.object(depth - 1),
            9 => {
                let min = self.below(3);
                json!({ "type": "array", "items": self.value(depth - 1), "minItems": min, "maxItems": min + self.below(3) })
            }
            10 => json!({ "anyOf": [self.value(depth - 1), self.value(depth - 1), { "type": "null" }] }),
            // What is defined refers to nothing, so there is an end.
            _ if depth > 1 => json!({ "$ref": self.pick(&["#/$defs/one", "#/$defs/two"]) }),
            _ => json!({ "type": ["boolean", "null"] }),
        }
    }

    fn object(&mut self, depth: u64) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for _ in 0..1 + self.below(4) {
            let name = self.pick(&NAMES);
            if self.chance(60) {
                required.push(name);
            }
            properties.insert(name.to_owned(), self.value(depth));
        }
        required.dedup();
        required.sort_unstable();
        required.dedup();
        let mut schema = json!({ "type": "object", "properties": properties, "required": required });
        if self.chance(30) {
            schema["additionalProperties"] = json!(false);
        }
        schema
    }

    fn literals(&mut self) -> Vec<Value> {
        let mut all: Vec<Value> = (0..1 + self.below(3)).map(|_| json!(self.pick(&WORDS))).collect();
        all.extend((0..self.below(2)).map(|_| json!(-17)));
        all.extend((0..self.below(2)).map(|_| json!({ "k": [1, null] })));
        all.dedup();
        all
    }

    fn integer(&mut self) -> Value {
        let min = self.below(200) as i64 - 100;
        let mut schema = json!({ "type": "integer", "minimum": min, "maximum": min + 20 + self.below(5000) as i64 });
        if self.chance(30) {
            schema["multipleOf"] = json!(1 + self.below(9));
        }
        schema
    }

    /// With few digits: a number between two bounds may have any number of them.
    fn number(&mut self) -> Value {
        let min = self.below(100) as f64 / 4.0 - 10.0;
        json!({ "type": "number", "exclusiveMinimum": min, "maximum": min + 7.5, "multipleOf": 0.25 })
    }
}
