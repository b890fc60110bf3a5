//! What must not compile: each program in `cases/`, with the error that it must give beside it. How to renew
//! those is in CONTRIBUTING.md. A package of its own, because it compiles the library once more.

#[test]
fn what_must_not_compile_does_not() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}
