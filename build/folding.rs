//! Whether a kernel may run in a folded grid.
//!
//! A grid of n workgroups is folded into two dimensions when a device does not allow n in one. The
//! last row then has workgroups past the end, which must do nothing. So a kernel that computes its
//! workgroup's number from the grid must compare that number, or an index that depends on it, with
//! a count.

use naga::{
    BinaryOperator, Binding, Block, BuiltIn, EntryPoint, Expression, Function, Handle, Module, ScalarKind, Statement,
    Type, TypeInner,
};
use std::collections::HashSet;

/// How an entry point uses the number of its workgroup in a folded grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// Does not compute it, so its grid must not be folded.
    Ignored,
    /// Computes it, and compares an index that follows from it with a count.
    Compared,
    /// Computes it and compares it with nothing.
    Unchecked,
}

/// How an entry point uses the number of its workgroup. Only a number that was computed from
/// `num_workgroups` is that of a folded grid. A comparison of order counts if one side depends on
/// the number and the other does not. (In a loop over the elements of an image both do.) One of
/// equality counts if both do, as in `min(number, count - 1) == number`.
pub fn folding(module: &Module, entry: &EntryPoint) -> Folding {
    let found = analyze(module, &entry.function, &HashSet::new());
    match (found.computes, found.compares) {
        (false, _) => Folding::Ignored,
        (true, true) => Folding::Compared,
        (true, false) => Folding::Unchecked,
    }
}

/// What is known about a function for some of its arguments that depend on the number.
#[derive(Default)]
struct Found {
    computes: bool,
    compares: bool,
    /// Whether its result depends on the number.
    result: bool,
}

/// A call of a function.
struct FunctionCall {
    function: Handle<Function>,
    arguments: Vec<Handle<Expression>>,
    result: Option<Handle<Expression>>,
}

/// The statements that matter, without their nesting.
#[derive(Default)]
struct Statements {
    calls: Vec<FunctionCall>,
    /// Pointer and value.
    stores: Vec<(Handle<Expression>, Handle<Expression>)>,
    returns: Vec<Handle<Expression>>,
}

impl Statements {
    fn collect(&mut self, block: &Block) {
        for statement in block {
            match statement {
                Statement::Block(inner) => self.collect(inner),
                Statement::If { accept, reject, .. } => [accept, reject].into_iter().for_each(|b| self.collect(b)),
                Statement::Switch { cases, .. } => cases.iter().for_each(|case| self.collect(&case.body)),
                Statement::Loop { body, continuing, .. } => {
                    [body, continuing].into_iter().for_each(|b| self.collect(b));
                }
                Statement::Call { function, arguments, result } => {
                    self.calls.push(FunctionCall {
                        function: *function,
                        arguments: arguments.clone(),
                        result: *result,
                    });
                }
                Statement::Store { pointer, value } => self.stores.push((*pointer, *value)),
                Statement::Return { value: Some(value) } => self.returns.push(*value),
                _ => {}
            }
        }
    }
}

fn analyze(module: &Module, function: &Function, arguments: &HashSet<usize>) -> Found {
    let mut statements = Statements::default();
    statements.collect(&function.body);
    let mut found = Found::default();
    // The expressions that depend on the number, and the pointers to variables that do.
    let mut tainted: HashSet<Handle<Expression>> = HashSet::new();
    loop {
        let before = tainted.len();
        for (handle, expression) in function.expressions.iter() {
            let depends = match *expression {
                Expression::FunctionArgument(i) => {
                    let argument = &function.arguments[i as usize];
                    arguments.contains(&(i as usize)) || is_count(argument.binding.as_ref())
                }
                // Only one member of a `Lane` matters.
                Expression::AccessIndex { base, index } => match lane_member(module, function, base, index) {
                    Some(is_count) => is_count,
                    None => tainted.contains(&base),
                },
                // What a buffer holds at an index is no index. A variable holds what was stored.
                Expression::Load { pointer } => tainted.contains(&root(function, pointer)),
                _ => operands(expression).iter().any(|operand| tainted.contains(operand)),
            };
            if depends {
                tainted.insert(handle);
            }
        }
        for FunctionCall { function: callee, arguments, result } in &statements.calls {
            let given = (0..arguments.len()).filter(|&i| tainted.contains(&arguments[i])).collect();
            let of_callee = analyze(module, &module.functions[*callee], &given);
            found.computes |= of_callee.computes;
            found.compares |= of_callee.compares;
            if let Some(result) = result.filter(|_| of_callee.result) {
                tainted.insert(result);
            }
        }
        for (pointer, value) in &statements.stores {
            if tainted.contains(value) {
                tainted.insert(root(function, *pointer));
            }
        }
        if tainted.len() == before {
            break;
        }
    }
    for (_, expression) in function.expressions.iter() {
        let Expression::Binary { op, left, right } = *expression else { continue };
        let [left, right] = [left, right].map(|side| tainted.contains(&side));
        found.computes |= left || right;
        found.compares |= match op {
            BinaryOperator::Equal => left && right,
            BinaryOperator::NotEqual => false,
            op => compares(op) && left != right,
        };
    }
    found.result = statements.returns.iter().any(|value| tainted.contains(value));
    found
}

fn compares(op: BinaryOperator) -> bool {
    use BinaryOperator::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
    matches!(op, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
}

fn is_count(binding: Option<&Binding>) -> bool {
    matches!(binding, Some(Binding::BuiltIn(BuiltIn::NumWorkGroups)))
}

/// Whether member `index` of an argument of a struct type with built-in members, such as `Lane`, is
/// the number of workgroups. `None` for other expressions.
fn lane_member(module: &Module, function: &Function, base: Handle<Expression>, index: u32) -> Option<bool> {
    let ty: Handle<Type> = match function.expressions[base] {
        Expression::FunctionArgument(i) => function.arguments[i as usize].ty,
        Expression::Compose { ty, .. } => ty,
        _ => return None,
    };
    let TypeInner::Struct { ref members, .. } = module.types[ty].inner else { return None };
    let built_in = |binding: Option<&Binding>| matches!(binding, Some(Binding::BuiltIn(_)));
    members
        .iter()
        .any(|member| built_in(member.binding.as_ref()))
        .then(|| is_count(members[index as usize].binding.as_ref()))
}

/// The variable that a pointer points into.
fn root(function: &Function, pointer: Handle<Expression>) -> Handle<Expression> {
    match function.expressions[pointer] {
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => root(function, base),
        _ => pointer,
    }
}

/// The expressions that the value of an index is computed from.
fn operands(expression: &Expression) -> Vec<Handle<Expression>> {
    match *expression {
        Expression::Access { base, .. } => vec![base],
        Expression::Splat { value, .. } => vec![value],
        Expression::Swizzle { vector, .. } => vec![vector],
        Expression::Compose { ref components, .. } => components.clone(),
        Expression::Unary { expr, .. } => vec![expr],
        Expression::As { kind, expr, .. } if kind != ScalarKind::Float => vec![expr],
        Expression::Binary { op, left, right } if !compares(op) => vec![left, right],
        Expression::Select { accept, reject, .. } => vec![accept, reject],
        Expression::Math { arg, arg1, arg2, arg3, .. } => [Some(arg), arg1, arg2, arg3].into_iter().flatten().collect(),
        _ => vec![],
    }
}
