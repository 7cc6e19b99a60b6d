// Functions that are zero at some point and stay accurate near it. They are built from exp and log,
// which are accurate everywhere except near their own zeros.

// (e^x - 1 - x) / x^2 for |x| < 0.7, by its power series.
fn exp_series(x: f32) -> f32 {
  var p = 2.7557319e-7;
  p = p * x + 2.7557319e-6;
  p = p * x + 2.4801587e-5;
  p = p * x + 1.9841270e-4;
  p = p * x + 1.3888889e-3;
  p = p * x + 8.3333333e-3;
  p = p * x + 4.1666667e-2;
  p = p * x + 1.6666667e-1;
  return p * x + 0.5;
}

// e^x - 1
fn expm1(x: f32) -> f32 {
  return select(exp(x) - 1.0, x + x * x * exp_series(x), abs(x) < 0.7);
}

// e^x - 1 - x, which is never negative.
fn exp_above_line(x: f32) -> f32 {
  return select(exp(x) - 1.0 - x, x * x * exp_series(x), abs(x) < 0.7);
}

// log(1 + x). Near zero: 2 atanh(x / (2 + x)) by its power series.
fn log1p(x: f32) -> f32 {
  if (x < -0.5 || x > 1.0) {
    return log(1.0 + x);
  }
  let s = x / (2.0 + x);
  let z = s * s;
  var p = 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 0.2;
  p = p * z + 1.0 / 3.0;
  return 2.0 * s * (p * z + 1.0);
}

// log(1 - e^-x) for x > 0 (Maechler 2012, "Accurately computing log(1 - exp(-|a|))").
fn log1mexp(x: f32) -> f32 {
  if (x < 0.6931472) {
    return log(-expm1(-x));
  }
  return log1p(-exp(-x));
}

// log(1 + e^x)
fn softplus(x: f32) -> f32 {
  return max(x, 0.0) + log1p(exp(-abs(x)));
}

// 1 / (1 + e^-x)
fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(e, 1.0, x > 0.0) / (1.0 + e);
}
