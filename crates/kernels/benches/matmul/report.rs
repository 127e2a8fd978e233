//! Prints what was measured: a table with a line for each format and tier, or one JSON object.

use kernels::{Format, Kernels};

use crate::TOKENS;
use crate::arguments::Arguments;
use crate::limits::{Cpu, Limits, per_cycle};

/// The time of a product of `[rows, cols]` weights and `[tokens, cols]` activations on each of this many threads at once.
pub(crate) struct Product {
    pub(crate) kernels: &'static Kernels,
    pub(crate) format: &'static Format,
    pub(crate) threads: usize,
    pub(crate) tokens: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) seconds: f64,
    /// Bytes a second that these threads read when they do nothing else, measured in turn with the product.
    pub(crate) bandwidth: Option<f64>,
}

impl Product {
    /// Bytes of weights a second, of all threads.
    fn bytes_per_second(&self) -> f64 {
        let row_bytes = self.format.quant.row_bytes(self.cols).expect("whole blocks were multiplied");
        (self.threads * self.rows * row_bytes) as f64 / self.seconds
    }

    /// Operations a second, of all threads; a multiplication and its addition are two.
    fn operations_per_second(&self) -> f64 {
        2.0 * (self.threads * self.rows * self.cols * self.tokens) as f64 / self.seconds
    }

    fn share_of_bandwidth(&self) -> Option<f64> {
        self.bandwidth.map(|bandwidth| self.bytes_per_second() / bandwidth)
    }

    fn share_of_peak(&self, limits: &Limits) -> Option<f64> {
        let peak = limits.peak(self.kernels.name(), self.format.activation);
        peak.map(|peak| self.operations_per_second() / peak)
    }

    fn json(&self, limits: &Limits) -> String {
        let known = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
        format!(
            "{{\"format\": \"{}\", \"tier\": \"{}\", \"threads\": {}, \"tokens\": {}, \"rows\": {}, \"cols\": {}, \
             \"seconds\": {}, \"weight_bytes_per_second\": {}, \"operations_per_second\": {}, \
             \"share_of_bandwidth\": {}, \"share_of_peak\": {}}}",
            self.format.name,
            self.kernels.name(),
            self.threads,
            self.tokens,
            self.rows,
            self.cols,
            self.seconds,
            self.bytes_per_second(),
            self.operations_per_second(),
            known(self.share_of_bandwidth()),
            known(self.share_of_peak(limits)),
        )
    }
}

/// What is printed as it comes, or collected for one object.
pub(crate) struct Report {
    is_json: bool,
    limits: Vec<String>,
    products: Vec<String>,
}

impl Report {
    /// Says what the machine is taken for.
    pub(crate) fn begin(arguments: &Arguments) -> Report {
        if !arguments.json {
            println!("{}, rows of {} weights; peaks assume:", Cpu::read().name, arguments.cols);
            for tier in Kernels::available().iter().filter(|kernels| arguments.wants_tier(kernels)) {
                let assumes = per_cycle(tier.name()).map_or("nothing known", |per_cycle| per_cycle.assumes);
                println!("  {:7} {assumes}", tier.name());
            }
        }
        Report { is_json: arguments.json, limits: Vec::new(), products: Vec::new() }
    }

    /// Prints what this many threads could reach, then the header of the table.
    pub(crate) fn limits(&mut self, limits: &Limits) {
        let Limits { threads, bytes_per_second, hz } = limits;
        if self.is_json {
            self.limits.push(format!(
                "{{\"threads\": {threads}, \"read_bytes_per_second\": {bytes_per_second}, \"clock_hz\": {hz}}}"
            ));
            return;
        }
        let (gigabytes, gigahertz) = (bytes_per_second / 1e9, hz / 1e9);
        println!("\n{threads} thread(s): memory reads {gigabytes:.1} GB/s, clock {gigahertz:.2} GHz, peak GOP/s:");
        for kernels in Kernels::available() {
            if let Some(peak) = per_cycle(kernels.name()) {
                let at = |per_cycle: f64| per_cycle * gigahertz * *threads as f64;
                println!("  {:7} int8 {:.0}, f32 {:.0}", kernels.name(), at(peak.int8), at(peak.f32));
            }
        }
        let columns = |tokens: &[usize]| tokens.iter().map(|tokens| format!("{tokens:>8}")).collect::<String>();
        let few = &TOKENS[..TOKENS.len() - 1];
        println!("{:16}GB/s of weights, by tokens{:23}GFLOP/s, by tokens", "", "");
        println!("format  tier   {}  of memory |{}  of peak", columns(few), columns(&TOKENS));
    }

    /// Tells the products of one format and tier, one for each of [`TOKENS`].
    pub(crate) fn products(&mut self, products: &[Product; TOKENS.len()], limits: &Limits) {
        if self.is_json {
            self.products.extend(products.iter().map(|product| product.json(limits)));
            return;
        }
        let [decode, .., prefill] = products;
        let cells = |products: &[Product], of: fn(&Product) -> f64| {
            products.iter().map(|product| format!("{:8.1}", of(product) / 1e9)).collect::<String>()
        };
        let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0}%", 100.0 * share));
        println!(
            "{:7} {:7}{}  {:>9} |{}  {:>7}",
            decode.format.name,
            decode.kernels.name(),
            cells(&products[..TOKENS.len() - 1], Product::bytes_per_second),
            percent(decode.share_of_bandwidth()),
            cells(products, Product::operations_per_second),
            percent(prefill.share_of_peak(limits)),
        );
    }

    /// Prints what was collected.
    pub(crate) fn end(self) {
        if self.is_json {
            let tiers = Kernels::available().iter().filter_map(|kernels| {
                let peak = per_cycle(kernels.name())?;
                let (name, assumes) = (kernels.name(), peak.assumes);
                let (int8, f32) = (peak.int8, peak.f32);
                Some(format!("{{\"tier\": \"{name}\", \"int8\": {int8}, \"f32\": {f32}, \"assumes\": \"{assumes}\"}}"))
            });
            let list = |items: Vec<String>| items.join(",\n    ");
            println!(
                "{{\n  \"cpu\": \"{}\",\n  \"operations_per_cycle\": [\n    {}\n  ],\n  \"limits\": [\n    {}\n  ],\n  \
                 \"products\": [\n    {}\n  ]\n}}",
                Cpu::read().name.replace(['"', '\\'], ""),
                list(tiers.collect()),
                list(self.limits),
                list(self.products)
            );
        }
    }
}
