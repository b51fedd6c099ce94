//! NaNs are canonical wherever a program can see them. The engine's compiler makes them so where their bits leave
//! floating point, and not after every instruction; random programs must not be able to tell the difference.

use phala_engine::{Config, Engine, Execution, Job};
use phala_primitives::Outcome;
use std::fmt::Write;

/// How many random programs are compared.
const PROGRAMS: u64 = 150;

/// The first bytes of memory, which programs read, write, and print in the end.
const MEMORY_BYTES: u64 = 256;

const HEAD: &str = r#"
(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
(memory (export "memory") 1)
(func $canonical_f32 (param f32) (result f32)
    (select (f32.const nan) (local.get 0) (f32.ne (local.get 0) (local.get 0))))
(func $canonical_f64 (param f64) (result f64)
    (select (f64.const nan) (local.get 0) (f64.ne (local.get 0) (local.get 0))))
(func $canonical_f32x4 (param v128) (result v128)
    (v128.bitselect (f32x4.splat (f32.const nan)) (local.get 0) (f32x4.ne (local.get 0) (local.get 0))))
(func $canonical_f64x2 (param v128) (result v128)
    (v128.bitselect (f64x2.splat (f64.const nan)) (local.get 0) (f64x2.ne (local.get 0) (local.get 0))))
(func $pick_f32 (param f32 f32 i32) (result f32) (select (local.get 0) (local.get 1) (local.get 2)))
(func $pick_f64 (param f64 f64 i32) (result f64) (select (local.get 0) (local.get 1) (local.get 2)))
"#;

const LOCALS: &str = "(local $f0 f32) (local $f1 f32) (local $f2 f32) (local $d0 f64) (local $d1 f64) (local $d2 f64)
    (local $i0 i32) (local $i1 i32) (local $v0 v128) (local $v1 v128) (local $v2 v128)
    (local $n0 i32) (local $n1 i32) (local $n2 i32)";

const PRINT: &str = "(i32.store (i32.const 1024) (i32.const 0)) (i32.store (i32.const 1028) (i32.const 256))
    (drop (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1032)))";

/// Writes one random program twice: as it is, and with every result of arithmetic made canonical by the program itself.
/// The same seed gives the same program.
struct Generator {
    state: u64,
    explicit: bool,
}

impl Generator {
    fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn program(&mut self) -> String {
        let mut data = String::new();
        for _ in 0..MEMORY_BYTES / 8 {
            let bytes = match self.below(4) {
                // NaNs with a payload, of either width and sign, quiet and signalling.
                0 => (0x7ff0_0000_0000_0000 | self.below(1 << 52) | self.below(2) << 63).to_le_bytes(),
                1 => {
                    let mut lane = || (0x7f80_0000 | self.below(1 << 23) | self.below(2) << 31) as u32;
                    (u64::from(lane()) << 32 | u64::from(lane())).to_le_bytes()
                }
                2 => (self.below(1000) as f64 - 500.0).to_le_bytes(),
                _ => self.below(u64::MAX).to_le_bytes(),
            };
            bytes.iter().for_each(|byte| write!(data, "\\{byte:02x}").expect("a string takes all"));
        }
        let body: String = (0..14).map(|_| self.statement(3)).collect();
        format!("(module {HEAD} (data (i32.const 0) \"{data}\") (func (export \"_start\") {LOCALS} {body} {PRINT}))")
    }

    fn address(&mut self) -> u64 {
        self.below(MEMORY_BYTES - 16)
    }

    fn arithmetic(&self, lanes: &str, expression: String) -> String {
        if self.explicit { format!("(call $canonical_{lanes} {expression})") } else { expression }
    }

    fn statement(&mut self, depth: u32) -> String {
        match self.below(if depth == 0 { 8 } else { 10 }) {
            0 | 1 => format!("(local.set {} {})", self.pick(&["$f0", "$f1", "$f2"]), self.float("f32", 3)),
            2 | 3 => format!("(local.set {} {})", self.pick(&["$d0", "$d1", "$d2"]), self.float("f64", 3)),
            4 => format!("(local.set {} {})", self.pick(&["$v0", "$v1", "$v2"]), self.vector(3)),
            5 => format!("(f32.store (i32.const {}) {})", self.address(), self.float("f32", 3)),
            6 => format!("(f64.store (i32.const {}) {})", self.address(), self.float("f64", 3)),
            7 => match self.below(2) {
                0 => format!("(v128.store (i32.const {}) {})", self.address(), self.vector(3)),
                _ => format!("(local.set {} {})", self.pick(&["$i0", "$i1"]), self.integer(3)),
            },
            8 => {
                let (yes, no) = (self.statement(depth - 1), self.statement(depth - 1));
                format!("(if {} (then {yes}) (else {no}))", self.integer(2))
            }
            _ => {
                let body: String = (0..3).map(|_| self.statement(depth - 1)).collect();
                let count = format!("$n{}", depth - 1);
                format!(
                    "(local.set {count} (i32.const 3)) (loop {body} (br_if 0 (local.tee {count}
                        (i32.sub (local.get {count}) (i32.const 1)))))"
                )
            }
        }
    }

    /// An expression of type f32 or f64.
    fn float(&mut self, ty: &str, depth: u32) -> String {
        let (locals, other, int) = match ty {
            "f32" => (["$f0", "$f1", "$f2"], "f64", "i32"),
            _ => (["$d0", "$d1", "$d2"], "f32", "i64"),
        };
        if depth == 0 {
            return match self.below(3) {
                0 => format!("({ty}.load (i32.const {}))", self.address()),
                1 => format!(
                    "({ty}.const {})",
                    self.pick(&["0", "-0", "1.5", "-7", "inf", "-inf", "nan", "-nan:0x12345"])
                ),
                _ => format!("(local.get {})", self.pick(&locals)),
            };
        }
        let depth = depth - 1;
        match self.below(14) {
            0..=4 => {
                let operation = self.pick(&["add", "sub", "mul", "div", "min", "max"]);
                let expression = format!("({ty}.{operation} {} {})", self.float(ty, depth), self.float(ty, depth));
                self.arithmetic(ty, expression)
            }
            5 => {
                let operation = self.pick(&["sqrt", "ceil", "floor", "trunc", "nearest"]);
                let expression = format!("({ty}.{operation} {})", self.float(ty, depth));
                self.arithmetic(ty, expression)
            }
            6 => {
                let operation = if ty == "f32" { "f32.demote_f64" } else { "f64.promote_f32" };
                let expression = format!("({operation} {})", self.float(other, depth));
                self.arithmetic(ty, expression)
            }
            7 => format!("({ty}.{} {})", self.pick(&["neg", "abs"]), self.float(ty, depth)),
            8 => format!("({ty}.copysign {} {})", self.float(ty, depth), self.float(ty, depth)),
            9 => {
                let (yes, no) = (self.float(ty, depth), self.float(ty, depth));
                match self.below(3) {
                    0 => format!("(select {yes} {no} {})", self.integer(depth)),
                    1 => format!("(call $pick_{ty} {yes} {no} {})", self.integer(depth)),
                    _ => format!("(if (result {ty}) {} (then {yes}) (else {no}))", self.integer(depth)),
                }
            }
            10 if ty == "f32" => format!("(f32x4.extract_lane {} {})", self.below(4), self.vector(depth)),
            10 => format!("(f64x2.extract_lane {} {})", self.below(2), self.vector(depth)),
            11 if ty == "f32" => format!("(f32.reinterpret_i32 {})", self.integer(depth)),
            11 => format!("(f64.reinterpret_i64 (i64.extend_i32_s {}))", self.integer(depth)),
            12 => format!("({ty}.convert_{int}_s ({int}.const {}))", self.below(9)),
            _ => self.float(ty, 0),
        }
    }

    /// An expression of type i32.
    fn integer(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.below(3) {
                0 => format!("(i32.load (i32.const {}))", self.address()),
                1 => format!("(i32.const {})", self.below(3)),
                _ => format!("(local.get {})", self.pick(&["$i0", "$i1"])),
            };
        }
        let depth = depth - 1;
        match self.below(6) {
            0 => format!("(i32.reinterpret_f32 {})", self.float("f32", depth)),
            1 => {
                format!("(i32.wrap_i64 (i64.shr_u (i64.reinterpret_f64 {}) (i64.const 32)))", self.float("f64", depth))
            }
            2 => format!("(f64.lt {} {})", self.float("f64", depth), self.float("f64", depth)),
            3 => format!("(i32.trunc_sat_f32_s {})", self.float("f32", depth)),
            4 => format!("(i32x4.extract_lane {} {})", self.below(4), self.vector(depth)),
            _ => format!("(i32.xor {} {})", self.integer(depth), self.integer(depth)),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.below(2) {
                0 => format!("(v128.load (i32.const {}))", self.address()),
                _ => format!("(local.get {})", self.pick(&["$v0", "$v1", "$v2"])),
            };
        }
        let depth = depth - 1;
        match self.below(12) {
            0..=4 => {
                let lanes = self.pick(&["f32x4", "f64x2"]);
                let operation = self.pick(&["add", "sub", "mul", "div", "min", "max"]);
                let expression = format!("({lanes}.{operation} {} {})", self.vector(depth), self.vector(depth));
                self.arithmetic(lanes, expression)
            }
            5 => {
                let lanes = self.pick(&["f32x4", "f64x2"]);
                let operation = self.pick(&["sqrt", "ceil", "floor", "trunc", "nearest"]);
                let expression = format!("({lanes}.{operation} {})", self.vector(depth));
                self.arithmetic(lanes, expression)
            }
            6 => {
                let lanes = self.pick(&["f32x4", "f64x2"]);
                let operation = self.pick(&["neg", "abs", "pmin", "pmax"]);
                match operation {
                    "neg" | "abs" => format!("({lanes}.{operation} {})", self.vector(depth)),
                    _ => format!("({lanes}.{operation} {} {})", self.vector(depth), self.vector(depth)),
                }
            }
            7 => format!("(f32x4.replace_lane {} {} {})", self.below(4), self.vector(depth), self.float("f32", depth)),
            8 => format!("(f64x2.splat {})", self.float("f64", depth)),
            9 => format!("(select {} {} {})", self.vector(depth), self.vector(depth), self.integer(depth)),
            10 => {
                let (expression, lanes) = match self.below(2) {
                    0 => (format!("(f32x4.demote_f64x2_zero {})", self.vector(depth)), "f32x4"),
                    _ => (format!("(f64x2.promote_low_f32x4 {})", self.vector(depth)), "f64x2"),
                };
                self.arithmetic(lanes, expression)
            }
            _ => {
                let operation = self.pick(&["v128.xor", "i32x4.add", "i8x16.swizzle"]);
                format!("({operation} {} {})", self.vector(depth), self.vector(depth))
            }
        }
    }
}

fn run(engine: &Engine, seed: u64, explicit: bool) -> Execution {
    let program = Generator { state: seed, explicit }.program();
    let code = wat::parse_str(&program).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let program = engine.prepare(&code).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    engine.run(&program, Job::default()).expect("an outcome")
}

#[test]
fn programs_see_canonical_nans_only() {
    let engine = Engine::new(Config::default()).expect("an engine");
    let mut with_nans = 0;
    for seed in 0..PROGRAMS {
        let (plain, explicit) = (run(&engine, seed, false), run(&engine, seed, true));
        assert_eq!(plain.outcome, Outcome::Completed { exit_code: 0 }, "seed {seed}");
        assert_eq!(plain.stdout.len() as u64, MEMORY_BYTES, "seed {seed}");
        assert!(plain.stdout == explicit.stdout, "seed {seed} sees a NaN that is not canonical");
        let nan = f64::NAN.to_le_bytes();
        with_nans += u32::from(plain.stdout.windows(8).any(|window| window == nan));
    }
    assert!(with_nans > 20, "only {with_nans} programs stored a canonical NaN: the test has lost its teeth");
}
