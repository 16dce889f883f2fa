// expect: eigennorm/safetensors.hpp needs nlohmann_json
// flags: -nostdinc
#if defined(CONTROL)
#include <eigennorm/version.hpp>
#else
#include <eigennorm/safetensors.hpp>
#endif

int main() {}
