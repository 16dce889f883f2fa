# Makes eigennorm::mpi where MPI is: the headers of eigennorm, and what eigennorm/mpi.hpp needs besides.
# EIGENNORM_MPI says where it is looked for: ON wants it, OFF does not look; AUTO takes what a project above has found, and
# in this project's own programs what is installed. Nobody else's build looks for it.

set(EIGENNORM_MPI AUTO CACHE STRING "The target eigennorm::mpi, which needs MPI: ON, OFF, or AUTO, where it is found")
set_property(CACHE EIGENNORM_MPI PROPERTY STRINGS AUTO ON OFF)

set(eigennorm_looks_for_mpi OFF)
if(EIGENNORM_MPI AND NOT TARGET MPI::MPI_CXX)
  if(NOT EIGENNORM_MPI STREQUAL "AUTO")
    set(eigennorm_looks_for_mpi ON)
  elseif(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CROSSCOMPILING AND (EIGENNORM_BUILD_TESTS OR EIGENNORM_BUILD_EXAMPLES))
    set(eigennorm_looks_for_mpi ON)
  endif()
endif()
if(eigennorm_looks_for_mpi)
  set(MPI_CXX_SKIP_MPICXX ON)  # the C++ bindings of MPI 2 are gone since MPI 3
  find_package(MPI QUIET COMPONENTS CXX)
  if(NOT TARGET MPI::MPI_CXX)
    if(NOT EIGENNORM_MPI STREQUAL "AUTO")
      message(FATAL_ERROR "eigennorm::mpi needs MPI, which is not installed: "
        "install libopenmpi-dev and openmpi-bin (Debian) or openmpi (vcpkg, Homebrew, conan), or set EIGENNORM_MPI=OFF.")
    endif()
    message(STATUS "EigenNorm: without eigennorm::mpi, which needs MPI (Debian: libopenmpi-dev and openmpi-bin)")
  endif()
endif()

# An installed package has the target in any case, and its config file says where MPI is missing then.
add_library(eigennorm_mpi INTERFACE)
set_target_properties(eigennorm_mpi PROPERTIES EXPORT_NAME mpi)
target_link_libraries(eigennorm_mpi INTERFACE eigennorm
  $<BUILD_INTERFACE:MPI::MPI_CXX> $<INSTALL_INTERFACE:$<1:MPI::MPI_CXX>>)
if(EIGENNORM_MPI AND TARGET MPI::MPI_CXX)
  add_library(eigennorm::mpi ALIAS eigennorm_mpi)
endif()

# The rest is for this project's own programs.
if(NOT TARGET eigennorm::mpi OR NOT MPIEXEC_EXECUTABLE OR NOT (EIGENNORM_BUILD_TESTS OR EIGENNORM_BUILD_EXAMPLES))
  return()
endif()

# Open MPI starts no more processes than there are cores, and none for root, unless it is told to.
set(eigennorm_mpiexec_flags "")
execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE eigennorm_mpiexec_version ERROR_QUIET)
if(eigennorm_mpiexec_version MATCHES "Open MPI|OpenRTE|PRTE|prterun")
  set(eigennorm_mpiexec_flags --oversubscribe --allow-run-as-root)
endif()

# eigennorm_mpi_command(VARIABLE RANKS PROGRAM): how a program is run as a job of so many processes; its arguments follow.
function(eigennorm_mpi_command variable ranks program)
  set(${variable} ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${eigennorm_mpiexec_flags} ${MPIEXEC_PREFLAGS}
    ${program} ${MPIEXEC_POSTFLAGS} PARENT_SCOPE)
endfunction()

# What tests of jobs need. (MPI itself does not free all that it allocates.)
function(eigennorm_mpi_test_properties)
  set_tests_properties(${ARGN} PROPERTIES TIMEOUT 240 PROCESSORS 2 ENVIRONMENT ASAN_OPTIONS=detect_leaks=0)
endfunction()

# add_mpi_test(NAME RANKS PROGRAM [ARGUMENT...])
function(add_mpi_test name ranks program)
  eigennorm_mpi_command(job ${ranks} ${program})
  add_test(NAME ${name} COMMAND ${job} ${ARGN})
  eigennorm_mpi_test_properties(${name})
endfunction()
