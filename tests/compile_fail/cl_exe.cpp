// expect: EigenNorm needs GCC's vector extensions
// flags: -D_MSC_VER=1930 -U__clang__ -U__GNUC__
#include <eigennorm/eigennorm.hpp>

int main() {}
