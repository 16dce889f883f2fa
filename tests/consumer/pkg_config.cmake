# Compiles and runs main.cpp by the flags of pkg-config alone. PKG_CONFIG is its path, or ends in NOTFOUND.

if(NOT PKG_CONFIG)
  message("pkg-config is not installed")
  return()
endif()

set(ENV{PKG_CONFIG_PATH} "${PKG_CONFIG_PATH}:$ENV{PKG_CONFIG_PATH}")
execute_process(COMMAND ${PKG_CONFIG} --exists eigen3 RESULT_VARIABLE eigen_is_missing)
if(eigen_is_missing)
  message("pkg-config does not know eigen3")
  return()
endif()

set(must_work COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${PKG_CONFIG} --print-errors --exists "${PACKAGE} = ${VERSION}" ${must_work})
execute_process(COMMAND ${PKG_CONFIG} --cflags --libs ${PACKAGE} OUTPUT_VARIABLE flags ${must_work})
separate_arguments(flags UNIX_COMMAND "${flags}")
execute_process(COMMAND ${COMPILER} -std=c++17 ${CMAKE_CURRENT_LIST_DIR}/main.cpp ${flags} -o ${PROGRAM} ${must_work})
# No flag of pkg-config tells the program where a shared library is. (The package of the headers has no libdir.)
execute_process(COMMAND ${PKG_CONFIG} --variable=libdir ${PACKAGE} OUTPUT_VARIABLE libdir OUTPUT_STRIP_TRAILING_WHITESPACE
  ${must_work})
if(libdir)
  set(ENV{LD_LIBRARY_PATH} "${libdir}:$ENV{LD_LIBRARY_PATH}")
endif()
execute_process(COMMAND ${PROGRAM} ${must_work})
