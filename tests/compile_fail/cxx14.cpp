// expect: EigenNorm needs C++17
// flags: -std=c++14
#include <eigennorm/eigennorm.hpp>

int main() {}
