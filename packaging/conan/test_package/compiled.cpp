// Part of the program where the package has eigennorm::compiled: the target must say so to the headers, or the program
// would compile every kernel itself, link the library for nothing, and pass.
#if !defined(EIGENNORM_COMPILED)
#error "eigennorm::compiled does not define EIGENNORM_COMPILED."
#endif
