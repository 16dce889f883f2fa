# What the project's own tests and examples are compiled with. Never exported, never linked into eigennorm itself.

add_library(eigennorm_warnings INTERFACE)
target_compile_options(eigennorm_warnings INTERFACE -Wall -Wextra -Wconversion -Wshadow)
if(EIGENNORM_WARNINGS_AS_ERRORS)
  target_compile_options(eigennorm_warnings INTERFACE -Werror)
endif()
