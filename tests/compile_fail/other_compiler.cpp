// expect: EigenNorm needs g++ 9 or clang 9
// flags: -U__clang__ -U__GNUC__
#include <eigennorm/eigennorm.hpp>

int main() {}
