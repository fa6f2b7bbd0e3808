package dataplane

// The objects are committed; generating needs clang-19, llvm-strip-19, libbpf-dev and the kernel's user headers.
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type layout -type role -type host_flags -type vsid_flags -type port_flags -type interface_flags -type record_flags -type route_flags -type owner_flags -type mark -type event_kind -type event doors bpf/doors.c -- -O2 -g -Wall -Werror -fno-ident -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
