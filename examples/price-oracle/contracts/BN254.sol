// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

/// @title Arithmetic on BN254 (alt_bn128), over the precompiles of EIP-196, EIP-197 and EIP-198
/// @notice G1: y^2 = x^3 + 3 over Fp, prime order R, cofactor 1. The point at infinity is (0, 0).
/// @dev Every precompile call that fails reverts: a caller never mistakes "ran out of gas" or "not a point" for "the
/// signature is wrong", and `eth_estimateGas` sees the failure and asks for more. Each call names its gas so that a bad
/// input, for which a precompile takes all it was given, costs a bounded amount. The caps are several times what the
/// operation costs on any fork from Istanbul to Osaka, except the pairing's, which is 113,000 by EIP-1108.
library BN254 {
    /// @notice A point of G1 in affine coordinates.
    struct G1Point {
        uint256 X;
        uint256 Y;
    }

    /// @notice A point of G2; coordinates are in Fp2, imaginary part first, as EIP-197 has it.
    struct G2Point {
        uint256[2] X;
        uint256[2] Y;
    }

    /// @notice Adding or multiplying failed: a coordinate is not below P, or the point is not on the curve.
    error PointOperationFailed();
    /// @notice The pairing failed: too little gas, or a point is not in its group.
    error PairingFailed();
    /// @notice Modular exponentiation failed: too little gas.
    error ModExpFailed();

    /// @dev The base field's modulus; P mod 4 = 3.
    uint256 internal constant P = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    /// @dev The order of G1 and G2.
    uint256 internal constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    /// @dev (P + 1) / 4: raising a square to this power gives one of its roots, because P mod 4 = 3.
    uint256 private constant ROOT_EXPONENT = (P + 1) / 4;

    uint256 private constant ADD_GAS = 2_000;
    uint256 private constant MUL_GAS = 20_000;
    uint256 private constant MODEXP_GAS = 20_000;
    uint256 private constant PAIRING_GAS = 120_000;

    /// @dev The generator of G1.
    function generatorG1() internal pure returns (G1Point memory) {
        return G1Point(1, 2);
    }

    /// @dev The negative of G2's generator, with the generator as EIP-197 gives it: same X, Y subtracted from P.
    function negGeneratorG2() internal pure returns (G2Point memory) {
        return G2Point(
            [
                uint256(11559732032986387107991004021392285783925812861821192530917403151452391805634),
                uint256(10857046999023057135944570762232829481370756359578518086990519993285655852781)
            ],
            [
                P - uint256(4082367875863433681332203403145435568316851327593401208105741076214120093531),
                P - uint256(8495653923123431417604973247489272438418190587263600148770280649306958101930)
            ]
        );
    }

    function isZero(G1Point memory a) internal pure returns (bool) {
        return a.X == 0 && a.Y == 0;
    }

    /// @dev True for canonical points of G1, the point at infinity among them.
    function isOnCurve(G1Point memory a) internal pure returns (bool) {
        if (isZero(a)) return true;
        if (a.X >= P || a.Y >= P) return false;
        return mulmod(a.Y, a.Y, P) == _curve(a.X);
    }

    function plus(G1Point memory a, G1Point memory b) internal view returns (G1Point memory sum) {
        uint256[4] memory input = [a.X, a.Y, b.X, b.Y];
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(ADD_GAS, 0x06, input, 0x80, sum, 0x40)
        }
        if (!ok) revert PointOperationFailed();
    }

    /// @dev `a` must be canonical.
    function negate(G1Point memory a) internal pure returns (G1Point memory) {
        return a.Y == 0 ? a : G1Point(a.X, P - a.Y);
    }

    function scalar_mul(G1Point memory a, uint256 scalar) internal view returns (G1Point memory product) {
        uint256[3] memory input = [a.X, a.Y, scalar];
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(MUL_GAS, 0x07, input, 0x60, product, 0x40)
        }
        if (!ok) revert PointOperationFailed();
    }

    /// @dev EigenLayer's try-and-increment: the first x from `digest mod P` upwards that is on the curve, with the
    /// root beta^((P+1)/4), not normalised. Half of all x are, so it ends after two attempts on average.
    function hashToG1(bytes32 digest) internal view returns (G1Point memory) {
        uint256 x = uint256(digest) % P;
        uint256 beta = _curve(x);
        uint256 y = _power(beta, ROOT_EXPONENT);
        while (mulmod(y, y, P) != beta) {
            x = addmod(x, 1, P);
            beta = _curve(x);
            y = _power(beta, ROOT_EXPONENT);
        }
        return G1Point(x, y);
    }

    /// @dev Whether e(a1, a2) * e(b1, b2) = 1. The precompile checks that G2 points are in the subgroup of order R.
    function pairing(G1Point memory a1, G2Point memory a2, G1Point memory b1, G2Point memory b2)
        internal
        view
        returns (bool)
    {
        uint256[12] memory input = [
            a1.X, a1.Y, a2.X[0], a2.X[1], a2.Y[0], a2.Y[1],
            b1.X, b1.Y, b2.X[0], b2.X[1], b2.Y[0], b2.Y[1]
        ];
        uint256[1] memory result;
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(PAIRING_GAS, 0x08, input, 0x180, result, 0x20)
        }
        if (!ok) revert PairingFailed();
        return result[0] == 1;
    }

    /// @dev Whether `sigma` is a signature of `message` by the key that is `keyG1` in G1 and `keyG2` in G2.
    ///
    /// With s and s' the logarithms of `keyG1` and `keyG2`, two things are to be shown: sigma = s' * message, and
    /// s = s'. Both are one pairing product, the second weighted with gamma:
    /// e(sigma + gamma * keyG1, -g2) * e(message + gamma * g1, keyG2) = 1. If either were false, the equation would hold
    /// for one gamma in R only; `gamma` must therefore be a hash of all four points (or of what determines them).
    function verify(
        G1Point memory message,
        G1Point memory sigma,
        G1Point memory keyG1,
        G2Point memory keyG2,
        uint256 gamma
    ) internal view returns (bool) {
        return pairing(
            plus(sigma, scalar_mul(keyG1, gamma)),
            negGeneratorG2(),
            plus(message, scalar_mul(generatorG1(), gamma)),
            keyG2
        );
    }

    /// @dev x^3 + 3, the right side of the curve's equation.
    function _curve(uint256 x) private pure returns (uint256) {
        return addmod(mulmod(mulmod(x, x, P), x, P), 3, P);
    }

    function _power(uint256 base, uint256 exponent) private view returns (uint256) {
        uint256[6] memory input = [uint256(32), 32, 32, base, exponent, P];
        uint256[1] memory result;
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(MODEXP_GAS, 0x05, input, 0xc0, result, 0x20)
        }
        if (!ok) revert ModExpFailed();
        return result[0];
    }
}
