//! Canonical NaNs, where a program can see them.
//!
//! Cranelift's own pass makes the result of every floating-point instruction canonical, which triples the time of
//! numeric loops: four more instructions each, all in the chain of dependencies. But whether a NaN is canonical makes no
//! difference to arithmetic, comparisons and conversions to integers; it does where the bits leave floating point: stores,
//! calls, returns, reinterpretation, sign operations, lanes. This pass makes values canonical there.
//!
//! What was loaded or passed in must keep its bits, so a value that comes from both (a block parameter, a `select`)
//! cannot be treated at the end. Values are therefore of these kinds:
//!
//! - *arithmetic*: results of instructions that make NaNs; not canonical before a sink;
//! - *neutral*: never NaN: constants and conversions from integers;
//! - *pure copies*: block parameters and selects of arithmetic and neutral values only; treated like arithmetic;
//! - *other copies*: what arithmetic gives them is made canonical on the way in, if it can come to a sink;
//! - everything else, which keeps its bits.
//!
//! What a program can observe is exactly what it could with Cranelift's pass.

use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    entity::SecondaryMap,
    ir::{
        BlockArg, Function, Inst, InstBuilder, InstructionData, MemFlagsData, Opcode, Type, Value,
        condcodes::FloatCC,
        immediates::{Ieee32, Ieee64},
        types,
    },
};

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Kind {
    /// Keeps its bits.
    #[default]
    Other,
    /// Never NaN.
    Neutral,
    /// May be a NaN of any bits.
    Arithmetic,
    /// One of several values.
    Copy,
}

#[derive(Clone, Default)]
struct Node {
    kind: Kind,
    /// For copies: what they may be.
    inputs: Vec<Value>,
    /// For copies: whether all inputs are arithmetic, neutral or pure.
    pure: bool,
    /// For copies that are not pure: whether they may come to a sink.
    escapes: bool,
    /// Of which types the arithmetic values are that it may be.
    lanes: Lanes,
}

/// Types of vectors: what is arithmetic in one type are mere bits in the other.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Lanes {
    f32x4: bool,
    f64x2: bool,
}

impl Lanes {
    fn of(ty: Type) -> Self {
        Self { f32x4: ty == types::F32X4, f64x2: ty == types::F64X2 }
    }

    fn or(self, other: Self) -> Self {
        Self { f32x4: self.f32x4 || other.f32x4, f64x2: self.f64x2 || other.f64x2 }
    }
}

fn makes_nans(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Ceil
            | Opcode::Floor
            | Opcode::Nearest
            | Opcode::Sqrt
            | Opcode::Trunc
            | Opcode::Fdemote
            | Opcode::Fpromote
            | Opcode::FvpromoteLow
            | Opcode::Fvdemote
            | Opcode::Fadd
            | Opcode::Fdiv
            | Opcode::Fmax
            | Opcode::Fmin
            | Opcode::Fmul
            | Opcode::Fsub
            | Opcode::Fma
    )
}

/// Whether an instruction's result does not depend on a NaN's bits.
fn ignores_bits(opcode: Opcode) -> bool {
    makes_nans(opcode)
        || matches!(
            opcode,
            Opcode::Fcmp
                | Opcode::FcvtToSint
                | Opcode::FcvtToUint
                | Opcode::FcvtToSintSat
                | Opcode::FcvtToUintSat
        )
}

fn is_scalar(ty: Type) -> bool {
    ty == types::F32 || ty == types::F64
}

fn is_vector(ty: Type) -> bool {
    ty.is_vector() && ty.bits() == 128
}

/// Whether an instruction passes floating-point values on as they are.
fn copies(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let Some(result) = func.dfg.inst_results(inst).first() else {
        return false;
    };
    let to = func.dfg.value_type(*result);
    match data.opcode() {
        Opcode::Select => is_scalar(to) || is_vector(to),
        Opcode::Bitcast => is_vector(to) && is_vector(func.dfg.value_type(func.dfg.inst_args(inst)[0])),
        _ => false,
    }
}

/// The values that a copying instruction chooses from.
fn copied(func: &Function, inst: Inst) -> std::ops::Range<usize> {
    match func.dfg.insts[inst].opcode() {
        Opcode::Select => 1..3,
        _ => 0..func.dfg.inst_args(inst).len(),
    }
}

/// Makes NaNs canonical where they can be seen.
pub fn canonicalize(func: &mut Function) {
    let nodes = classify(func);
    rewrite(func, &nodes);
}

fn classify(func: &Function) -> SecondaryMap<Value, Node> {
    let dfg = &func.dfg;
    let mut nodes: SecondaryMap<Value, Node> = SecondaryMap::new();
    let mut copy_nodes = Vec::new();
    let mut any = false;

    let entry = func.layout.entry_block();
    for block in func.layout.blocks() {
        if Some(block) != entry {
            for &param in dfg.block_params(block) {
                let ty = dfg.value_type(param);
                if is_scalar(ty) || is_vector(ty) {
                    nodes[param].kind = Kind::Copy;
                    nodes[param].pure = is_scalar(ty);
                    copy_nodes.push(param);
                }
            }
        }
        for inst in func.layout.block_insts(block) {
            let data = &dfg.insts[inst];
            let Some(&result) = dfg.inst_results(inst).first() else {
                continue;
            };
            let kind = match *data {
                InstructionData::UnaryIeee32 { imm, .. } if !f32::from_bits(imm.bits()).is_nan() => Kind::Neutral,
                InstructionData::UnaryIeee64 { imm, .. } if !f64::from_bits(imm.bits()).is_nan() => Kind::Neutral,
                _ if makes_nans(data.opcode()) => Kind::Arithmetic,
                _ if matches!(data.opcode(), Opcode::FcvtFromSint | Opcode::FcvtFromUint) => Kind::Neutral,
                _ if copies(func, inst) => Kind::Copy,
                _ => Kind::Other,
            };
            if kind == Kind::Arithmetic {
                any = true;
                nodes[result].lanes = Lanes::of(dfg.value_type(result));
            }
            nodes[result].kind = kind;
            if kind == Kind::Copy {
                nodes[result].pure = is_scalar(dfg.value_type(result));
                nodes[result].inputs =
                    copied(func, inst).map(|index| dfg.resolve_aliases(dfg.inst_args(inst)[index])).collect();
                copy_nodes.push(result);
            }
        }
    }
    if !any {
        return SecondaryMap::new();
    }

    // What branches pass on.
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            let data = &dfg.insts[inst];
            for call in data.branch_destination(&dfg.jump_tables, &dfg.exception_tables) {
                let params = dfg.block_params(call.block(&dfg.value_lists));
                for (&param, arg) in params.iter().zip(call.args(&dfg.value_lists)) {
                    match arg {
                        BlockArg::Value(value) => nodes[param].inputs.push(dfg.resolve_aliases(value)),
                        // What a call returns keeps its bits.
                        _ => nodes[param].pure = false,
                    }
                }
            }
        }
    }

    // Pure, and of no type, until shown otherwise.
    loop {
        let mut changed = false;
        for &copy in &copy_nodes {
            let lanes = nodes[copy].inputs.iter().fold(Lanes::default(), |lanes, input| lanes.or(nodes[*input].lanes));
            if nodes[copy].lanes != lanes {
                nodes[copy].lanes = lanes;
                changed = true;
            }
            if nodes[copy].pure {
                let pure = nodes[copy].inputs.iter().all(|input| match nodes[*input].kind {
                    Kind::Arithmetic | Kind::Neutral => true,
                    Kind::Copy => nodes[*input].pure,
                    Kind::Other => false,
                });
                if !pure {
                    nodes[copy].pure = false;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }

    // Which values come to sinks. Arithmetic in one type of vectors is one for the other.
    let mut sinks = Vec::new();
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            if copies(func, inst) {
                continue;
            }
            let ignores = ignores_bits(dfg.insts[inst].opcode());
            for &arg in dfg.inst_args(inst) {
                let value = dfg.resolve_aliases(arg);
                let own = Lanes::of(dfg.value_type(value));
                if !ignores || nodes[value].lanes.or(own) != own {
                    sinks.push(value);
                }
            }
        }
    }

    // Hidden until shown otherwise.
    while let Some(value) = sinks.pop() {
        let node = &mut nodes[value];
        if node.kind == Kind::Copy && !node.pure && !node.escapes {
            node.escapes = true;
            sinks.extend(node.inputs.iter().copied());
        }
    }
    nodes
}

fn rewrite(func: &mut Function, nodes: &SecondaryMap<Value, Node>) {
    let needs = |value: Value| match nodes[value].kind {
        Kind::Arithmetic => true,
        Kind::Copy => nodes[value].pure,
        Kind::Neutral | Kind::Other => false,
    };
    let lets_out = |value: Value| nodes[value].kind == Kind::Copy && nodes[value].escapes;

    let mut pos = FuncCursor::new(func);
    while let Some(_block) = pos.next_block() {
        while let Some(inst) = pos.next_inst() {
            let mut made: Vec<(Value, Value)> = Vec::new();
            let opcode = pos.func.dfg.insts[inst].opcode();
            let args = if copies(pos.func, inst) {
                if lets_out(pos.func.dfg.inst_results(inst)[0]) { copied(pos.func, inst) } else { 0..0 }
            } else if ignores_bits(opcode) {
                0..0
            } else {
                0..pos.func.dfg.inst_args(inst).len()
            };
            for index in args {
                let value = pos.func.dfg.resolve_aliases(pos.func.dfg.inst_args(inst)[index]);
                if needs(value) {
                    let canonical = canonical(&mut pos, value, &mut made);
                    pos.func.dfg.inst_args_mut(inst)[index] = canonical;
                }
            }

            // Only block parameters that let something out.
            let dfg = &pos.func.dfg;
            let mut passed = Vec::new();
            for call in dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables) {
                let params = dfg.block_params(call.block(&dfg.value_lists));
                let args = params.iter().zip(call.args(&dfg.value_lists)).map(|(&param, arg)| match arg {
                    BlockArg::Value(value) => {
                        let value = dfg.resolve_aliases(value);
                        (lets_out(param) && needs(value)).then_some(value)
                    }
                    _ => None,
                });
                passed.extend(args);
            }
            if passed.iter().all(Option::is_none) {
                continue;
            }
            let passed: Vec<_> =
                passed.into_iter().map(|value| value.map(|value| canonical(&mut pos, value, &mut made))).collect();
            let mut passed = passed.into_iter();
            let dfg = &mut pos.func.dfg;
            let calls = dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
            for call in calls {
                call.update_args(&mut dfg.value_lists, |arg| match passed.next().flatten() {
                    Some(value) => BlockArg::Value(value),
                    None => arg,
                });
            }
        }
    }
}

/// The canonical form of `value`, made before the current instruction.
fn canonical(pos: &mut FuncCursor, value: Value, made: &mut Vec<(Value, Value)>) -> Value {
    if let Some((_, canonical)) = made.iter().find(|(known, _)| *known == value) {
        return *canonical;
    }
    let ty = pos.func.dfg.value_type(value);
    let is_nan = pos.ins().fcmp(FloatCC::Unordered, value, value);
    let nan = match ty.lane_type() {
        types::F32 => pos.ins().f32const(Ieee32::NAN),
        _ => pos.ins().f64const(Ieee64::NAN),
    };
    let canonical = if ty.is_vector() {
        let nan = pos.ins().splat(ty, nan);
        let is_nan = pos.ins().bitcast(ty, MemFlagsData::new(), is_nan);
        pos.ins().bitselect(is_nan, nan, value)
    } else {
        pos.ins().select(is_nan, nan, value)
    };
    made.push((value, canonical));
    canonical
}
