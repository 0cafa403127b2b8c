# A C program by make and a Rust program by cargo: built, run, found fresh, built again in part.
mkdir c
cd c
for i in $(seq 20); do
    printf '#include "all.h"\nint f%d(void) { return BASE + %d; }\n' "$i" "$i" >"f$i.c"
done
{
    echo '#define BASE 100'
    for i in $(seq 20); do echo "int f$i(void);"; done
} >all.h
{
    echo '#include <stdio.h>'
    echo '#include "all.h"'
    echo 'int main(void) { printf("%d", 0'
    for i in $(seq 20); do echo "+ f$i()"; done
    echo '); return 0; }'
} >main.c
cat >Makefile <<'END'
objects := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects)
	@$(CC) -o $@ $^
%.o: %.c all.h
	@$(CC) -O1 -c -o $@ $<
	@echo compiled >>log
END
make -s -j4 program
./program
make -q program
sleep 0.05
sed -i 's/100/200/' all.h
make -s -j4 program
./program
echo '/* touched */' >>f7.c
make -s -j4 program
wc -l <log
make -q program
cd ..

unset CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_BUILD_TARGET_DIR RUSTFLAGS RUSTC_WRAPPER
export CARGO_INCREMENTAL=1
mkdir -p rust/src
cd rust
printf '[package]\nname = "small"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' >Cargo.toml
for i in $(seq 8); do
    printf 'pub fn f() -> u32 {\n    %d\n}\n' "$i" >"src/m$i.rs"
    echo "pub mod m$i;"
done >src/lib.rs
printf 'fn main() {\n    println!("{}", small::m3::f() + small::m8::f());\n}\n' >src/main.rs
cargo build --offline --quiet
./target/debug/small
cargo build --offline 2>"$OUTSIDE/cargo.log"
if grep Compiling "$OUTSIDE/cargo.log" >&2; then exit 1; fi
sleep 0.05
sed -i 's/8/80/' src/m8.rs
cargo build --offline --quiet
./target/debug/small
