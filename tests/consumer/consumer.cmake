# What the consumers share: a program under strict warnings, and a look at what came along. LIBRARY: what it links; SOURCE:
# the program, if it is another one.

if(NOT SOURCE)
  set(SOURCE ../main.cpp)
endif()
add_executable(consumer ${SOURCE})
target_link_libraries(consumer PRIVATE ${LIBRARY})
target_compile_options(consumer PRIVATE -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror)

set(unwanted_targets eigennorm_warnings eigennorm_headers eigennorm_catch2 eigennorm_reference)
if(LIBRARY STREQUAL "eigennorm::eigennorm")
  list(APPEND unwanted_targets eigennorm_compiled)
endif()
foreach(unwanted IN LISTS unwanted_targets)
  if(TARGET ${unwanted})
    message(FATAL_ERROR "A consumer got the target ${unwanted}.")
  endif()
endforeach()
if(NOT CMAKE_CXX_FLAGS STREQUAL flags_before OR BUILD_TESTING)
  message(FATAL_ERROR "A consumer got global settings.")
endif()
# To look for MPI takes seconds, and leaves variables behind.
if(NOT LIBRARY STREQUAL "eigennorm::mpi" AND (DEFINED MPI_CXX_COMPILER OR DEFINED MPIEXEC_EXECUTABLE))
  message(FATAL_ERROR "MPI was looked for in a project that does not use it.")
endif()
