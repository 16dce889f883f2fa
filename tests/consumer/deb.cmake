# Builds the Debian package in BUILD, looks at what it says of itself, and lays its files into ROOT.

set(must_work COMMAND_ERROR_IS_FATAL ANY)
file(REMOVE_RECURSE ${BUILD} ${ROOT})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BUILD} -G ${GENERATOR}
  -D CMAKE_CXX_COMPILER=${COMPILER} -D Eigen3_DIR=${EIGEN}
  -D EIGENNORM_BUILD_TESTS=OFF -D EIGENNORM_BUILD_EXAMPLES=OFF ${must_work})
execute_process(COMMAND ${CPACK} -G DEB WORKING_DIRECTORY ${BUILD} ${must_work})
set(package ${BUILD}/libeigennorm-dev_${VERSION}_all.deb)

foreach(field IN ITEMS
    "Package: libeigennorm-dev" "Version: ${VERSION}" "Architecture: all" "Section: libdevel" "Depends: libeigen3-dev (>= 3.4)")
  string(REGEX REPLACE ":.*" "" name "${field}")
  execute_process(COMMAND ${DPKG_DEB} --field ${package} ${name} OUTPUT_VARIABLE value OUTPUT_STRIP_TRAILING_WHITESPACE ${must_work})
  if(NOT field STREQUAL "${name}: ${value}")
    message(FATAL_ERROR "Wanted \"${field}\", got \"${value}\".")
  endif()
endforeach()

execute_process(COMMAND ${DPKG_DEB} --extract ${package} ${ROOT} ${must_work})
foreach(file IN ITEMS
    include/eigennorm/eigennorm.hpp share/cmake/eigennorm/eigennorm-config.cmake share/pkgconfig/eigennorm.pc
    share/doc/libeigennorm-dev/copyright)
  if(NOT EXISTS ${ROOT}/usr/${file})
    message(FATAL_ERROR "The package has no /usr/${file}.")
  endif()
endforeach()
